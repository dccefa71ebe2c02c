//! The model in the kernel's terms: expressions, registers, set types, bytes.
//! Owns the translation of every statement; the result is what nft(8) makes of the same text, so that it can print it.
//! Must never send anything.

use super::raw::{Attribute, ElementData, ElementMessage, Expr, SetMessage, text};
use crate::nftables::model::{
    Carries, Data, Dynamic, Element, Family, HOST_MASK, Ip, Key, Load, REDIRECT_MASK, Rule,
    Selector, Set, Statement, Type, Value, Verdict,
};
use nftnl::nftnl_sys::{self as sys, libc};
use std::ffi::CString;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `IPS_DST_NAT`
const DST_NAT: u32 = 1 << 5;
/// `NFT_DYNSET_OP_DELETE`, younger than libc's list.
const DYNSET_DELETE: u32 = 2;
/// `NFT_CONNLIMIT_F_INV`
const OVER: u32 = 1;
/// `NFT_SET_CONCAT`
const CONCAT: u32 = 0x80;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
/// Offset of the flags in a TCP header.
const TCP_FLAGS: u32 = 13;

/// A set inside a rule.
pub struct Anonymous {
    /// The set; its `id` is filled in by the caller.
    pub set: SetMessage,
    /// Its elements.
    pub elements: Vec<ElementMessage>,
}

/// Number of the register that begins at the 4-byte word `word`.
pub(super) fn register(word: u32) -> u32 {
    match word % 4 {
        0 => 1 + word / 4,
        _ => 8 + word,
    }
}

fn number(constant: i32) -> u32 {
    constant.cast_unsigned()
}

pub(super) fn nfproto(ip: Ip) -> u32 {
    number(match ip {
        Ip::V4 => libc::NFPROTO_IPV4,
        Ip::V6 => libc::NFPROTO_IPV6,
    })
}

/// `NFPROTO_…` as an object's layer 3 protocol.
pub fn layer3(ip: Ip) -> u16 {
    u16::try_from(nfproto(ip)).unwrap_or(0)
}

pub(super) fn meta(key: i32, word: u32) -> Expr {
    Expr::new(c"meta")
        .u32(sys::NFTNL_EXPR_META_KEY, number(key))
        .u32(sys::NFTNL_EXPR_META_DREG, register(word))
}

fn ct(key: i32, word: u32) -> Expr {
    Expr::new(c"ct")
        .u32(sys::NFTNL_EXPR_CT_KEY, number(key))
        .u32(sys::NFTNL_EXPR_CT_DREG, register(word))
}

fn load_mark(table: Family, word: u32) -> Expr {
    match table {
        Family::Inet => ct(libc::NFT_CT_MARK, word),
        Family::Netdev => meta(libc::NFT_META_MARK, word),
    }
}

fn store_mark(table: Family) -> Expr {
    match table {
        Family::Inet => set_ct(libc::NFT_CT_MARK),
        Family::Netdev => Expr::new(c"meta")
            .u32(sys::NFTNL_EXPR_META_KEY, number(libc::NFT_META_MARK))
            .u32(sys::NFTNL_EXPR_META_SREG, register(0)),
    }
}

fn set_ct(key: i32) -> Expr {
    Expr::new(c"ct")
        .u32(sys::NFTNL_EXPR_CT_KEY, number(key))
        .u32(sys::NFTNL_EXPR_CT_SREG, register(0))
}

pub(super) fn payload(base: i32, offset: u32, length: u32, word: u32) -> Expr {
    Expr::new(c"payload")
        .u32(sys::NFTNL_EXPR_PAYLOAD_BASE, number(base))
        .u32(sys::NFTNL_EXPR_PAYLOAD_OFFSET, offset)
        .u32(sys::NFTNL_EXPR_PAYLOAD_LEN, length)
        .u32(sys::NFTNL_EXPR_PAYLOAD_DREG, register(word))
}

pub(super) fn compare(operation: i32, data: &[u8]) -> Expr {
    Expr::new(c"cmp")
        .u32(sys::NFTNL_EXPR_CMP_SREG, register(0))
        .u32(sys::NFTNL_EXPR_CMP_OP, number(operation))
        .bytes(sys::NFTNL_EXPR_CMP_DATA, data)
}

/// Keeps the bits of `keep` in the first register and sets those of `set`.
pub(super) fn mask_set(keep: u32, set: u32) -> Expr {
    bitwise(&keep.to_ne_bytes(), &set.to_ne_bytes(), 0)
}

fn mask(bits: &[u8], word: u32) -> Expr {
    bitwise(bits, &vec![0; bits.len()], word)
}

fn bitwise(bits: &[u8], flipped: &[u8], word: u32) -> Expr {
    Expr::new(c"bitwise")
        .u32(sys::NFTNL_EXPR_BITWISE_SREG, register(word))
        .u32(sys::NFTNL_EXPR_BITWISE_DREG, register(word))
        .u32(
            sys::NFTNL_EXPR_BITWISE_LEN,
            u32::try_from(bits.len()).unwrap_or(0),
        )
        .bytes(sys::NFTNL_EXPR_BITWISE_MASK, bits)
        .bytes(sys::NFTNL_EXPR_BITWISE_XOR, flipped)
}

pub(super) fn immediate(data: &[u8]) -> Expr {
    Expr::new(c"immediate")
        .u32(sys::NFTNL_EXPR_IMM_DREG, register(0))
        .bytes(sys::NFTNL_EXPR_IMM_DATA, data)
}

fn lookup(set: &str, id: u32, into: bool) -> Expr {
    let expr = Expr::new(c"lookup")
        .u32(sys::NFTNL_EXPR_LOOKUP_SREG, register(0))
        .text(sys::NFTNL_EXPR_LOOKUP_SET, set);
    let expr = match id {
        0 => expr,
        _ => expr.u32(sys::NFTNL_EXPR_LOOKUP_SET_ID, id),
    };
    match into {
        true => expr.u32(sys::NFTNL_EXPR_LOOKUP_DREG, register(0)),
        false => expr,
    }
}

pub(super) fn family(table: Family, ip: Ip) -> [Expr; 2] {
    if table == Family::Netdev {
        let ether_type: u16 = match ip {
            Ip::V4 => 0x0800,
            Ip::V6 => 0x86dd,
        };
        return [
            meta(libc::NFT_META_PROTOCOL, 0),
            compare(libc::NFT_CMP_EQ, &ether_type.to_be_bytes()),
        ];
    }
    let byte = u8::try_from(nfproto(ip)).unwrap_or(0);
    [
        meta(libc::NFT_META_NFPROTO, 0),
        compare(libc::NFT_CMP_EQ, &[byte]),
    ]
}

/// The family a key speaks of.
fn family_of(key: &[Load]) -> Option<Ip> {
    key.iter().find_map(|load| match load {
        Load::Source(ip) | Load::Destination(ip) => Some(*ip),
        _ => None,
    })
}

/// Words a key part fills.
fn words(load: Load) -> u32 {
    match load {
        Load::Interface | Load::Source(Ip::V6) | Load::Destination(Ip::V6) => 4,
        _ => 1,
    }
}

fn load(table: Family, part: Load, word: u32) -> Vec<Expr> {
    let network = libc::NFT_PAYLOAD_NETWORK_HEADER;
    let transport = libc::NFT_PAYLOAD_TRANSPORT_HEADER;
    match part {
        Load::Interface => vec![meta(libc::NFT_META_IIFNAME, word)],
        Load::Source(Ip::V4) => vec![payload(network, 12, 4, word)],
        Load::Source(Ip::V6) => vec![payload(network, 8, 16, word)],
        Load::Destination(Ip::V4) => vec![payload(network, 16, 4, word)],
        Load::Destination(Ip::V6) => vec![payload(network, 24, 16, word)],
        Load::Protocol => vec![meta(libc::NFT_META_L4PROTO, word)],
        Load::SourcePort => vec![payload(transport, 0, 2, word)],
        Load::DestinationPort => vec![payload(transport, 2, 2, word)],
        Load::Mark => vec![load_mark(table, word)],
        Load::Redirect => vec![
            load_mark(table, word),
            mask(&REDIRECT_MASK.to_ne_bytes(), word),
        ],
    }
}

/// Loads a key into the registers from the first on; answers the first free word.
fn load_key(table: Family, exprs: &mut Vec<Expr>, key: &[Load], interval: bool) -> u32 {
    exprs.extend(family_of(key).into_iter().flat_map(|ip| family(table, ip)));
    let mut word = 0;
    for part in key {
        exprs.extend(load(table, *part, word));
        if interval && *part == Load::Protocol {
            // nft(8) wants ranges in network order, even of a single byte.
            exprs.push(
                Expr::new(c"byteorder")
                    .u32(sys::NFTNL_EXPR_BYTEORDER_SREG, register(word))
                    .u32(sys::NFTNL_EXPR_BYTEORDER_DREG, register(word))
                    .u32(sys::NFTNL_EXPR_BYTEORDER_OP, 1)
                    .u32(sys::NFTNL_EXPR_BYTEORDER_LEN, 1)
                    .u32(sys::NFTNL_EXPR_BYTEORDER_SIZE, 2),
            );
        }
        word += words(*part);
    }
    word
}

fn verdict(verdict: &Verdict) -> Expr {
    let (code, chain) = match verdict {
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Return => (libc::NFT_RETURN, None),
        Verdict::Drop => (libc::NF_DROP, None),
        Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain)),
    };
    let expr = Expr::new(c"immediate")
        .u32(sys::NFTNL_EXPR_IMM_DREG, 0)
        .u32(sys::NFTNL_EXPR_IMM_VERDICT, number(code));
    match chain {
        Some(chain) => expr.text(sys::NFTNL_EXPR_IMM_CHAIN, chain),
        None => expr,
    }
}

fn object(kind: u32, name: &str) -> Expr {
    Expr::new(c"objref")
        .u32(sys::NFTNL_EXPR_OBJREF_IMM_TYPE, kind)
        .text(sys::NFTNL_EXPR_OBJREF_IMM_NAME, name)
}

fn label(bit: u8) -> Vec<u8> {
    let mut words = [0u32; 4];
    if let Some(word) = words.get_mut(usize::from(bit / 32)) {
        *word = 1 << (bit % 32);
    }
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// Limit of connections as the state of an element.
fn connections(limit: u32) -> Expr {
    Expr::new(c"connlimit")
        .u32(sys::NFTNL_EXPR_CONNLIMIT_COUNT, limit)
        .u32(sys::NFTNL_EXPR_CONNLIMIT_FLAGS, OVER)
}

/// The expressions of a rule. `anonymous` takes a set inside the rule and answers its number in the transaction.
pub fn rule(table: Family, rule: &Rule, anonymous: &mut dyn FnMut(Anonymous) -> u32) -> Vec<Expr> {
    let mut exprs = Vec::new();
    for part in rule {
        statement(table, part, &mut exprs, anonymous);
    }
    exprs
}

fn statement(
    table: Family,
    statement: &Statement,
    exprs: &mut Vec<Expr>,
    anonymous: &mut dyn FnMut(Anonymous) -> u32,
) {
    match statement {
        Statement::Family(ip) => exprs.extend(family(table, *ip)),
        Statement::Dispatch { key, map, interval } => {
            load_key(table, exprs, key, *interval);
            exprs.push(lookup(map, 0, false).u32(sys::NFTNL_EXPR_LOOKUP_DREG, 0));
        }
        Statement::NotOpening => {
            tcp_flags(exprs, SYN | ACK);
            exprs.push(compare(libc::NFT_CMP_NEQ, &[SYN]));
        }
        Statement::Closing => {
            tcp_flags(exprs, FIN | RST);
            exprs.push(compare(libc::NFT_CMP_NEQ, &[0]));
        }
        Statement::Count(name) => exprs.push(object(super::raw::COUNTER, name)),
        Statement::Timeout(name) => exprs.push(object(super::raw::TIMEOUT, name)),
        Statement::Label(bit) => {
            exprs.extend([immediate(&label(*bit)), set_ct(libc::NFT_CT_LABELS)]);
        }
        Statement::SetMark(mark) => {
            exprs.extend([immediate(&mark.to_ne_bytes()), store_mark(table)]);
        }
        Statement::IsMark(mark) => exprs.extend([
            load_mark(table, 0),
            compare(libc::NFT_CMP_EQ, &mark.to_ne_bytes()),
        ]),
        Statement::MarkFrom { key, map } => {
            load_key(table, exprs, key, false);
            exprs.extend([lookup(map, 0, true), store_mark(table)]);
        }
        Statement::MarkFromSlot {
            selector,
            count,
            first,
        } => {
            exprs.extend(select(table, *selector, *count, *first));
            exprs.push(store_mark(table));
        }
        Statement::Host(present) => {
            let operation = match present {
                true => libc::NFT_CMP_NEQ,
                false => libc::NFT_CMP_EQ,
            };
            exprs.extend([
                load_mark(table, 0),
                mask(&HOST_MASK.to_ne_bytes(), 0),
                compare(operation, &[0; 4]),
            ]);
        }
        Statement::Learn {
            action,
            key,
            map,
            timeout,
        } => learn(table, exprs, *action, key, map, *timeout),
        Statement::Connections { set, limit } => {
            exprs.push(load_mark(table, 0));
            exprs.push(
                Expr::new(c"dynset")
                    .u32(sys::NFTNL_EXPR_DYNSET_SREG_KEY, register(0))
                    .u32(sys::NFTNL_EXPR_DYNSET_OP, number(libc::NFT_DYNSET_OP_ADD))
                    .text(sys::NFTNL_EXPR_DYNSET_SET_NAME, set)
                    .with(
                        sys::NFTNL_EXPR_DYNSET_EXPRESSIONS,
                        Attribute::Inner(Box::new(connections(*limit))),
                    ),
            );
        }
        Statement::Translate { ip, map, port } => translate(exprs, *ip, map, *port, anonymous),
        Statement::MarkIn(set) => {
            exprs.extend([load_mark(table, 0), lookup(set, 0, false)]);
        }
        Statement::FromWire => exprs.extend([
            meta(libc::NFT_META_IIFNAME, 0),
            compare(libc::NFT_CMP_NEQ, b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ]),
        Statement::Direction { reply } => exprs.extend([
            ct(libc::NFT_CT_DIRECTION, 0),
            compare(libc::NFT_CMP_EQ, &[u8::from(*reply)]),
        ]),
        Statement::Translated => exprs.extend([
            ct(libc::NFT_CT_STATUS, 0),
            mask(&DST_NAT.to_ne_bytes(), 0),
            compare(libc::NFT_CMP_NEQ, &[0; 4]),
        ]),
        Statement::RedirectIn(set) => {
            exprs.extend(load(table, Load::Redirect, 0));
            exprs.push(lookup(set, 0, false));
        }
        Statement::Masquerade => exprs.push(Expr::new(c"masq")),
        Statement::Log { prefix, group } => exprs.push(
            Expr::new(c"log")
                .text(sys::NFTNL_EXPR_LOG_PREFIX, prefix)
                .with(sys::NFTNL_EXPR_LOG_GROUP, Attribute::U16(*group)),
        ),
        Statement::Forward { ip, map, device } => forward(exprs, *ip, map, device),
        Statement::Relay(part) => exprs.extend(super::relays::expressions(part)),
        Statement::Verdict(v) => exprs.push(verdict(v)),
    }
}

fn tcp_flags(exprs: &mut Vec<Expr>, bits: u8) {
    exprs.extend([
        meta(libc::NFT_META_L4PROTO, 0),
        compare(libc::NFT_CMP_EQ, &[TCP]),
        payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS, 1, 0),
        mask(&[bits], 0),
    ]);
}

fn select(table: Family, selector: Selector, count: u32, first: u32) -> Vec<Expr> {
    let numgen = |kind: i32| {
        Expr::new(c"numgen")
            .u32(sys::NFTNL_EXPR_NG_DREG, register(0))
            .u32(sys::NFTNL_EXPR_NG_MODULUS, count)
            .u32(sys::NFTNL_EXPR_NG_OFFSET, first)
            .u32(sys::NFTNL_EXPR_NG_TYPE, number(kind))
    };
    match selector {
        Selector::Increment => vec![numgen(libc::NFT_NG_INCREMENTAL)],
        Selector::Random => vec![numgen(libc::NFT_NG_RANDOM)],
        Selector::Hash { ip, seed } => {
            let source = Load::Source(ip);
            let mut exprs: Vec<Expr> = family(table, ip).into();
            exprs.extend(load(table, source, 4));
            exprs.push(
                Expr::new(c"hash")
                    .u32(sys::NFTNL_EXPR_HASH_SREG, register(4))
                    .u32(sys::NFTNL_EXPR_HASH_DREG, register(0))
                    .u32(sys::NFTNL_EXPR_HASH_LEN, words(source) * 4)
                    .u32(sys::NFTNL_EXPR_HASH_MODULUS, count)
                    .u32(sys::NFTNL_EXPR_HASH_OFFSET, first)
                    .u32(sys::NFTNL_EXPR_HASH_SEED, seed)
                    .u32(sys::NFTNL_EXPR_HASH_TYPE, 0),
            );
            exprs
        }
    }
}

fn protocols() -> Anonymous {
    let element = |protocol: u8| ElementMessage {
        key: vec![protocol],
        key_end: None,
        data: ElementData::Nothing,
        user_data: Vec::new(),
        expression: None,
    };
    Anonymous {
        set: SetMessage {
            name: text("__set%d"),
            flags: number(libc::NFT_SET_ANONYMOUS | libc::NFT_SET_CONSTANT),
            key: (type_number(Type::Protocol), 1),
            size: Some(2),
            user_data: byte_orders(&[Type::Protocol], Carries::Nothing),
            ..SetMessage::default()
        },
        elements: [TCP, UDP].map(element).into(),
    }
}

fn learn(
    table: Family,
    exprs: &mut Vec<Expr>,
    action: Dynamic,
    key: &[Load],
    map: &str,
    timeout: Option<u32>,
) {
    let end = load_key(table, exprs, key, false);
    // The next whole register: one that the key's last word shares would be overwritten.
    let data = end.div_ceil(4) * 4;
    exprs.extend(load(table, Load::Mark, data));
    let operation = match action {
        Dynamic::Update => number(libc::NFT_DYNSET_OP_UPDATE),
        Dynamic::Delete => DYNSET_DELETE,
    };
    let expr = Expr::new(c"dynset")
        .u32(sys::NFTNL_EXPR_DYNSET_SREG_KEY, register(0))
        .u32(sys::NFTNL_EXPR_DYNSET_SREG_DATA, register(data))
        .u32(sys::NFTNL_EXPR_DYNSET_OP, operation)
        .text(sys::NFTNL_EXPR_DYNSET_SET_NAME, map);
    exprs.push(match timeout {
        Some(seconds) => expr.with(
            sys::NFTNL_EXPR_DYNSET_TIMEOUT,
            Attribute::U64(u64::from(seconds) * 1000),
        ),
        None => expr,
    });
}

fn translate(
    exprs: &mut Vec<Expr>,
    ip: Ip,
    map: &str,
    port: bool,
    anonymous: &mut dyn FnMut(Anonymous) -> u32,
) {
    if port {
        let id = anonymous(protocols());
        exprs.push(meta(libc::NFT_META_L4PROTO, 0));
        exprs.push(lookup("__set%d", id, false));
    }
    exprs.push(ct(libc::NFT_CT_MARK, 0));
    exprs.push(lookup(map, 0, true));
    let nat = Expr::new(c"nat")
        .u32(sys::NFTNL_EXPR_NAT_TYPE, number(libc::NFT_NAT_DNAT))
        .u32(sys::NFTNL_EXPR_NAT_FAMILY, nfproto(ip))
        .u32(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, register(0));
    let after = Type::Address(ip).length() / 4;
    exprs.push(match port {
        true => nat.u32(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, register(after)),
        false => nat,
    });
}

/// The device is a number in the kernel; one that is not there gets 0, which the kernel refuses.
fn forward(exprs: &mut Vec<Expr>, ip: Ip, map: &str, device: &str) {
    let index = nix::net::if_::if_nametoindex(device).unwrap_or(0);
    let second = 4;
    exprs.extend([
        immediate(&index.to_ne_bytes()),
        load_mark(Family::Netdev, second),
        Expr::new(c"lookup")
            .u32(sys::NFTNL_EXPR_LOOKUP_SREG, register(second))
            .u32(sys::NFTNL_EXPR_LOOKUP_DREG, register(second))
            .text(sys::NFTNL_EXPR_LOOKUP_SET, map),
        Expr::new(c"fwd")
            .u32(sys::NFTNL_EXPR_FWD_SREG_DEV, register(0))
            .u32(sys::NFTNL_EXPR_FWD_SREG_ADDR, register(second))
            .u32(sys::NFTNL_EXPR_FWD_NFPROTO, nfproto(ip)),
    ]);
}

/// Number of a type in nft(8).
fn type_number(kind: Type) -> u32 {
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
fn byte_orders(key: &[Type], carries: Carries) -> Vec<u8> {
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
        Value::Interface(name) => {
            let mut bytes: Vec<u8> = name.bytes().take(15).collect();
            bytes.resize(16, 0);
            bytes
        }
    }
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
        key: concatenated(key, false),
        key_end: set.interval.then(|| concatenated(key, true)),
        data: ElementData::Nothing,
        user_data: Vec::new(),
        expression: None,
    }
}
