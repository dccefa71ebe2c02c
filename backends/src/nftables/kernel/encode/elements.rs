//! Sets and elements in the kernel's terms.
//! Owns types, bytes and the user data that tells nft(8) how to print them.
//! Must never send anything.

use super::loads::number;
use crate::nftables::kernel::raw::{
    Attribute, ElementData, ElementMessage, Expr, SetMessage, text,
};
use crate::nftables::model::{Carries, Data, Element, Ip, Key, Set, Type, Value};
use nftnl::nftnl_sys::{self as sys, libc};
use std::ffi::CString;

/// `NFT_SET_CONCAT`
const CONCAT: u32 = 0x80;

/// Number of a type in nft(8).
pub(super) fn type_number(kind: Type) -> u32 {
    match kind {
        Type::Address(Ip::V4) => 7,
        Type::Address(Ip::V6) => 8,
        Type::Protocol => 12,
        Type::Port => 13,
        Type::Mark => 19,
        Type::Interface => 41,
    }
}

/// Type and length of a key or of data; parts of a concatenation fill whole words.
fn composite(types: &[Type]) -> (u32, u32) {
    match types {
        [one] => (type_number(*one), one.length()),
        _ => types.iter().fold((0, 0), |(number, length), t| {
            let padded = t.length().div_ceil(4) * 4;
            ((number << 6) | type_number(*t), length + padded)
        }),
    }
}

fn byte_order(types: &[Type]) -> u32 {
    const HOST: u32 = 1;
    const NETWORK: u32 = 2;
    match types {
        [Type::Mark] => HOST,
        [_] => NETWORK,
        _ => 0,
    }
}

/// User data that tells nft(8) how to print keys and data.
pub(super) fn byte_orders(key: &[Type], carries: Carries) -> Vec<u8> {
    let mut data = vec![0, 4];
    data.extend(byte_order(key).to_ne_bytes());
    let order = match carries {
        Carries::Nothing => return data,
        Carries::Verdict => 0,
        Carries::Values(types) => byte_order(types),
    };
    data.extend([1, 4]);
    data.extend(order.to_ne_bytes());
    data
}

/// The message that makes a named set.
pub fn set(set: &Set, family: u16, table: &CString) -> SetMessage {
    let interval = set.interval && set.key.len() > 1;
    let flags = [
        (set.carries != Carries::Nothing, number(libc::NFT_SET_MAP)),
        (set.interval, number(libc::NFT_SET_INTERVAL)),
        (interval, CONCAT),
        (set.dynamic, number(libc::NFT_SET_EVAL)),
        (set.timeout.is_some(), number(libc::NFT_SET_TIMEOUT)),
    ];
    SetMessage {
        family,
        table: table.clone(),
        name: text(set.name),
        id: 0,
        flags: flags.iter().filter(|(on, _)| *on).map(|(_, f)| *f).sum(),
        key: composite(set.key),
        data: match set.carries {
            Carries::Nothing => None,
            Carries::Verdict => Some((libc::NFT_DATA_VERDICT, 0)),
            Carries::Values(types) => Some(composite(types)),
        },
        concat: match interval {
            true => set
                .key
                .iter()
                .map(|t| u8::try_from(t.length()).unwrap_or(0))
                .collect(),
            false => Vec::new(),
        },
        size: set.size,
        timeout: set.timeout.map(|s| u64::from(s) * 1000),
        user_data: byte_orders(set.key, set.carries),
        counter: set.counter,
        kind: libc::NFT_MSG_NEWSET as u16,
    }
}

/// User data with a comment.
pub fn comment(comment: &str) -> Vec<u8> {
    const MOST: usize = 127;
    let mut bytes: Vec<u8> = comment.bytes().take(MOST).collect();
    bytes.push(0);
    let mut data = vec![0, u8::try_from(bytes.len()).unwrap_or(0)];
    data.append(&mut bytes);
    data
}

/// The comment in user data.
pub fn comment_of(user_data: &[u8]) -> Option<String> {
    match user_data {
        [0, length, rest @ ..] => {
            let text = rest.get(..usize::from(*length))?;
            let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
            Some(String::from_utf8_lossy(text.get(..end)?).into_owned())
        }
        _ => None,
    }
}

fn bytes(value: &Value, last: bool) -> Vec<u8> {
    match value {
        Value::Mark(n) => n.to_ne_bytes().into(),
        Value::V4(a) => a.octets().into(),
        Value::V6(a) => a.octets().into(),
        Value::Protocol(n) => vec![*n],
        Value::Port(n) => n.to_be_bytes().into(),
        Value::Ports(from, to) => if last { to } else { from }.to_be_bytes().into(),
        Value::Interface(name) => interface_name(name),
    }
}

/// An interface's name as the kernel compares it: 16 bytes, the last of them 0.
pub fn interface_name(name: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = name.bytes().take(15).collect();
    bytes.resize(16, 0);
    bytes
}

fn concatenated(values: &[Value], last: bool) -> Vec<u8> {
    let mut all = Vec::new();
    for value in values {
        all.extend(bytes(value, last));
        if values.len() > 1 {
            all.resize(all.len().div_ceil(4) * 4, 0);
        }
    }
    all
}

/// An element; `counted` are the packets and bytes a counter begins with.
pub fn element(
    set: &Set,
    key: &Key,
    element: &Element,
    counted: Option<(u64, u64)>,
) -> ElementMessage {
    let expression = match (set.counter, counted) {
        (true, Some((packets, bytes))) => Some(
            Expr::new(c"counter")
                .with(sys::NFTNL_EXPR_CTR_PACKETS, Attribute::U64(packets))
                .with(sys::NFTNL_EXPR_CTR_BYTES, Attribute::U64(bytes)),
        ),
        _ => None,
    };
    ElementMessage {
        key: concatenated(key, false),
        key_end: set.interval.then(|| concatenated(key, true)),
        data: match &element.data {
            Data::Nothing => ElementData::Nothing,
            Data::Goto(chain) => ElementData::Goto(text(chain)),
            Data::Values(values) => ElementData::Bytes(concatenated(values, false)),
        },
        user_data: element.comment.as_deref().map(comment).unwrap_or_default(),
        expression,
    }
}

/// Only the key, for deletion.
pub fn element_key(set: &Set, key: &Key) -> ElementMessage {
    ElementMessage {
        key_end: set.interval.then(|| concatenated(key, true)),
        ..ElementMessage::of(&concatenated(key, false))
    }
}

/// A slot and its host.
pub fn slot((slot, host): (u32, u32)) -> ElementMessage {
    ElementMessage {
        data: ElementData::Bytes(host.to_ne_bytes().into()),
        ..slot_key(slot)
    }
}

/// Only the slot, for deletion.
pub fn slot_key(slot: u32) -> ElementMessage {
    ElementMessage::of(&slot.to_ne_bytes())
}
