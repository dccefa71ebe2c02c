//! The relays' rules as expressions.
//! Owns the numbers of the kernel's `socket` and `tproxy` that no library names.
//! Must never decide which relay gets a rule.

use super::encode::{
    compare, family, immediate, interface_name, mask_set, meta, nfproto, payload, register,
};
use super::raw::Expr;
use crate::nftables::model::Family;
use crate::nftables::relays::{MARK, Part};
use nftnl::nftnl_sys::{self as sys, libc};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `NFT_SOCKET_TRANSPARENT`, `NFT_SOCKET_WILDCARD` (Linux 5.10)
const TRANSPARENT: u32 = 0;
const WILDCARD: u32 = 2;

/// The expressions of a part.
pub fn expressions(part: &Part) -> Vec<Expr> {
    match part {
        Part::Transparent => socket(TRANSPARENT).into(),
        Part::Wildcard => socket(WILDCARD).into(),
        Part::Datagram => protocol(UDP).into(),
        Part::Mark => vec![
            meta(libc::NFT_META_MARK, 0),
            mask_set(!MARK, MARK),
            Expr::new(c"meta")
                .u32(
                    sys::NFTNL_EXPR_META_KEY,
                    libc::NFT_META_MARK.cast_unsigned(),
                )
                .u32(sys::NFTNL_EXPR_META_SREG, register(0)),
        ],
        Part::From(interface) => vec![
            meta(libc::NFT_META_IIFNAME, 0),
            compare(libc::NFT_CMP_EQ, &interface_name(interface)),
        ],
        Part::To {
            ip,
            datagrams,
            port,
        } => {
            let mut exprs: Vec<Expr> = family(Family::Inet, *ip).into();
            exprs.extend(protocol(if *datagrams { UDP } else { TCP }));
            exprs.extend([
                payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 0),
                compare(libc::NFT_CMP_EQ, &port.to_be_bytes()),
            ]);
            exprs
        }
        Part::Divert { ip, port } => vec![
            immediate(&port.to_be_bytes()),
            Expr::new(c"tproxy")
                .u32(sys::NFTNL_EXPR_TPROXY_FAMILY, nfproto(*ip))
                .u32(sys::NFTNL_EXPR_TPROXY_REG_PORT, register(0)),
        ],
    }
}

fn socket(key: u32) -> [Expr; 2] {
    [
        Expr::new(c"socket")
            .u32(sys::NFTNL_EXPR_SOCKET_KEY, key)
            .u32(sys::NFTNL_EXPR_SOCKET_DREG, register(0)),
        compare(libc::NFT_CMP_EQ, &[1]),
    ]
}

fn protocol(number: u8) -> [Expr; 2] {
    [
        meta(libc::NFT_META_L4PROTO, 0),
        compare(libc::NFT_CMP_EQ, &[number]),
    ]
}
