//! Single expressions, and keys loaded into registers.
//! Owns the numbers of registers.
//! Must never use a register twice within a key.

use crate::nftables::kernel::raw::Expr;
use crate::nftables::model::{Family, Ip, Load, REDIRECT_MASK};
use nftnl::nftnl_sys::{self as sys, libc};

/// Number of the register that begins at the 4-byte word `word`.
pub fn register(word: u32) -> u32 {
    match word % 4 {
        0 => 1 + word / 4,
        _ => 8 + word,
    }
}

pub(super) fn number(constant: i32) -> u32 {
    constant.cast_unsigned()
}

pub fn nfproto(ip: Ip) -> u32 {
    number(match ip {
        Ip::V4 => libc::NFPROTO_IPV4,
        Ip::V6 => libc::NFPROTO_IPV6,
    })
}

pub fn meta(key: i32, word: u32) -> Expr {
    Expr::new(c"meta")
        .u32(sys::NFTNL_EXPR_META_KEY, number(key))
        .u32(sys::NFTNL_EXPR_META_DREG, register(word))
}

pub(super) fn ct(key: i32, word: u32) -> Expr {
    Expr::new(c"ct")
        .u32(sys::NFTNL_EXPR_CT_KEY, number(key))
        .u32(sys::NFTNL_EXPR_CT_DREG, register(word))
}

pub(super) fn load_mark(table: Family, word: u32) -> Expr {
    match table {
        Family::Inet => ct(libc::NFT_CT_MARK, word),
        Family::Netdev => meta(libc::NFT_META_MARK, word),
    }
}

pub(super) fn store_mark(table: Family) -> Expr {
    match table {
        Family::Inet => set_ct(libc::NFT_CT_MARK),
        Family::Netdev => Expr::new(c"meta")
            .u32(sys::NFTNL_EXPR_META_KEY, number(libc::NFT_META_MARK))
            .u32(sys::NFTNL_EXPR_META_SREG, register(0)),
    }
}

pub(super) fn set_ct(key: i32) -> Expr {
    Expr::new(c"ct")
        .u32(sys::NFTNL_EXPR_CT_KEY, number(key))
        .u32(sys::NFTNL_EXPR_CT_SREG, register(0))
}

pub fn payload(base: i32, offset: u32, length: u32, word: u32) -> Expr {
    Expr::new(c"payload")
        .u32(sys::NFTNL_EXPR_PAYLOAD_BASE, number(base))
        .u32(sys::NFTNL_EXPR_PAYLOAD_OFFSET, offset)
        .u32(sys::NFTNL_EXPR_PAYLOAD_LEN, length)
        .u32(sys::NFTNL_EXPR_PAYLOAD_DREG, register(word))
}

pub fn compare(operation: i32, data: &[u8]) -> Expr {
    Expr::new(c"cmp")
        .u32(sys::NFTNL_EXPR_CMP_SREG, register(0))
        .u32(sys::NFTNL_EXPR_CMP_OP, number(operation))
        .bytes(sys::NFTNL_EXPR_CMP_DATA, data)
}

/// Keeps the bits of `keep` in the first register and sets those of `set`.
pub fn mask_set(keep: u32, set: u32) -> Expr {
    bitwise(&keep.to_ne_bytes(), &set.to_ne_bytes(), 0)
}

pub(super) fn mask(bits: &[u8], word: u32) -> Expr {
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

pub fn immediate(data: &[u8]) -> Expr {
    Expr::new(c"immediate")
        .u32(sys::NFTNL_EXPR_IMM_DREG, register(0))
        .bytes(sys::NFTNL_EXPR_IMM_DATA, data)
}

pub(super) fn lookup(set: &str, id: u32, into: bool) -> Expr {
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

pub fn family(table: Family, ip: Ip) -> [Expr; 2] {
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
pub(super) fn words(load: Load) -> u32 {
    match load {
        Load::Interface | Load::Source(Ip::V6) | Load::Destination(Ip::V6) => 4,
        _ => 1,
    }
}

pub(super) fn load(table: Family, part: Load, word: u32) -> Vec<Expr> {
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
pub(super) fn load_key(table: Family, exprs: &mut Vec<Expr>, key: &[Load], interval: bool) -> u32 {
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
