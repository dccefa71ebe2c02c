//! The model in the kernel's terms: expressions, registers, set types, bytes.
//! Owns the translation of every statement; the result is what nft(8) makes of the same text, so that it can print it.
//! Must never send anything.

mod elements;
mod loads;

pub use elements::{
    comment, comment_of, element, element_key, interface_name, set, slot, slot_key,
};

use super::raw::{Attribute, ElementMessage, Expr, SetMessage, text};
use crate::nftables::model::{
    Carries, Dynamic, Family, HOST_MASK, Ip, Load, Rule, Selector, Statement, Type, Verdict,
};
use elements::{byte_orders, type_number};
pub use loads::{compare, family, immediate, mask_set, meta, nfproto, payload, register};
use loads::{ct, load, load_key, load_mark, lookup, mask, number, set_ct, store_mark, words};
use nftnl::nftnl_sys::{self as sys, libc};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `IPS_DST_NAT`
const DST_NAT: u32 = 1 << 5;
/// `NFT_DYNSET_OP_DELETE`, younger than libc's list.
const DYNSET_DELETE: u32 = 2;
/// `NFT_CONNLIMIT_F_INV`
const OVER: u32 = 1;
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

/// `NFPROTO_…` as an object's layer 3 protocol.
pub fn layer3(ip: Ip) -> u16 {
    u16::try_from(nfproto(ip)).unwrap_or(0)
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
    let element = |protocol: u8| ElementMessage::of(&[protocol]);
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
