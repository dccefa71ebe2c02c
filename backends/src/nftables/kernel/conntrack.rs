//! Connections the kernel tracks: counted and ended by mark, and asked for their first destination.
//! Owns the few ctnetlink messages we need.
//! Must never select by address: the kernel compares IPv6 addresses of such a filter the wrong way round.

use super::socket::Netlink;
use crate::nftables::model::Ip;
use nftnl::nftnl_sys::libc;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const MARK: u16 = 8;
const MARK_MASK: u16 = 21;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// Compare the protocol number.
const FILTER_PROTOCOL: u32 = 1 << 3;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4: [u16; 2] = [1, 2];
const IP_V6: [u16; 2] = [3, 4];
const PROTO_NUMBER: u16 = 1;
const PROTO_PORTS: [u16; 2] = [2, 3];
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
/// `struct nfgenmsg`
const GENERIC: usize = 4;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().div_ceil(4) * 4, 0);
    bytes
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &parts.concat())
}

fn message(kind: u16, flags: i32, sequence: u32, family: i32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let length = u32::try_from(HEADER + GENERIC + body.len()).unwrap_or(u32::MAX);
    let flags = u16::try_from(libc::NLM_F_REQUEST | flags).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(((SUBSYSTEM << 8) | kind).to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    // A deletion heeds the family of version 1 only; no resource.
    bytes.extend([u8::try_from(family).unwrap_or(0), 1, 0, 0]);
    bytes.extend(body);
    bytes
}

/// The attributes in a block, by type.
fn attributes(mut block: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let half = |at: usize| Some(u16::from_ne_bytes(block.get(at..at + 2)?.try_into().ok()?));
        let (length, kind) = (usize::from(half(0)?), half(2)?);
        let value = block.get(4..length)?;
        block = block.get(length.div_ceil(4) * 4..).unwrap_or_default();
        Some((kind & TYPE_MASK, value))
    })
}

/// The value of the first attribute of a type.
pub(super) fn find(block: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(block)
        .find(|(k, _)| *k == kind)
        .map(|(_, value)| value)
}

/// A number in network order.
pub(super) fn u32_be(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

/// Protocol, source and destination of a tuple.
fn tuple(block: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let (ip, proto) = (find(block, TUPLE_IP)?, find(block, TUPLE_PROTO)?);
    let address = |number: usize| -> Option<IpAddr> {
        if let Some(v4) = find(ip, *IP_V4.get(number)?) {
            return Some(Ipv4Addr::from(<[u8; 4]>::try_from(v4).ok()?).into());
        }
        let v6 = find(ip, *IP_V6.get(number)?)?;
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(v6).ok()?).into())
    };
    let port = |number: usize| -> u16 {
        PROTO_PORTS
            .get(number)
            .and_then(|kind| find(proto, *kind))
            .and_then(|v| v.get(..2)?.try_into().ok())
            .map_or(0, u16::from_be_bytes)
    };
    let number = *find(proto, PROTO_NUMBER)?.first()?;
    Some((
        number,
        SocketAddr::new(address(0)?, port(0)),
        SocketAddr::new(address(1)?, port(1)),
    ))
}

fn marked(mark: u32, mask: u32) -> [Vec<u8>; 2] {
    [
        attribute(MARK, &mark.to_be_bytes()),
        attribute(MARK_MASK, &mask.to_be_bytes()),
    ]
}

/// Number of connections by mark, of those whose mark equals `mark` under `mask`; one protocol only, if given.
///
/// # Errors
/// No right, or no connection tracking in the kernel.
pub fn count(
    netlink: &mut Netlink,
    mark: u32,
    mask: u32,
    protocol: Option<u8>,
) -> io::Result<BTreeMap<u32, u32>> {
    let request = message(
        GET,
        libc::NLM_F_DUMP,
        netlink.next_sequence(),
        libc::AF_UNSPEC,
        &marked(mark, mask),
    );
    let mut counts = BTreeMap::new();
    netlink.request(&request, |entry| {
        let block = entry.get(HEADER + GENERIC..).unwrap_or_default();
        let Some(found) = find(block, MARK).and_then(u32_be) else {
            return;
        };
        // An old kernel does not know the filter and sends all.
        if found & mask != mark & mask {
            return;
        }
        let same = |wanted: u8| {
            let original = find(block, TUPLE_ORIGINAL).and_then(tuple);
            original.is_some_and(|(number, _, _)| number == wanted)
        };
        if protocol.is_none_or(same) {
            *counts.entry(found).or_default() += 1;
        }
    })?;
    Ok(counts)
}

/// Ends all connections whose mark equals `mark` under `mask`, of one protocol and family if given, in one request.
///
/// # Errors
/// As [`count`].
pub fn kill(netlink: &mut Netlink, mark: u32, mask: u32, only: Option<(u8, Ip)>) -> io::Result<()> {
    let mut parts: Vec<Vec<u8>> = marked(mark, mask).into();
    let family = match only {
        None => libc::AF_UNSPEC,
        Some((_, Ip::V4)) => libc::AF_INET,
        Some((_, Ip::V6)) => libc::AF_INET6,
    };
    if let Some((protocol, _)) = only {
        let number = attribute(PROTO_NUMBER, &[protocol]);
        parts.push(nested(TUPLE_ORIGINAL, &[nested(TUPLE_PROTO, &[number])]));
        parts.push(nested(
            FILTER,
            &[
                attribute(FILTER_ORIGINAL, &FILTER_PROTOCOL.to_ne_bytes()),
                attribute(FILTER_REPLY, &0u32.to_ne_bytes()),
            ],
        ));
    }
    let sequence = netlink.next_sequence();
    let request = message(DELETE, libc::NLM_F_ACK, sequence, family, &parts);
    match netlink.request(&request, |_| ()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        answer => answer,
    }
}

/// Where the client of a translated connection wanted to go; `local` is the address it came to.
///
/// # Errors
/// As [`count`].
pub fn original_destination(
    netlink: &mut Netlink,
    protocol: u8,
    client: SocketAddr,
    local: SocketAddr,
) -> io::Result<Option<SocketAddr>> {
    let addresses = match (local.ip(), client.ip()) {
        (IpAddr::V4(l), IpAddr::V4(c)) => [attribute(1, &l.octets()), attribute(2, &c.octets())],
        (IpAddr::V6(l), IpAddr::V6(c)) => [attribute(3, &l.octets()), attribute(4, &c.octets())],
        _ => return Ok(None),
    };
    let proto = [
        attribute(PROTO_NUMBER, &[protocol]),
        attribute(2, &local.port().to_be_bytes()),
        attribute(3, &client.port().to_be_bytes()),
    ];
    let reply = nested(
        TUPLE_REPLY,
        &[nested(TUPLE_IP, &addresses), nested(TUPLE_PROTO, &proto)],
    );
    let family = if local.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let request = message(GET, 0, netlink.next_sequence(), family, &[reply]);
    let mut destination = None;
    let answer = netlink.request(&request, |entry| {
        let block = entry.get(HEADER + GENERIC..).unwrap_or_default();
        destination = find(block, TUPLE_ORIGINAL)
            .and_then(tuple)
            .map(|(_, _, to)| to);
    });
    match answer {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(destination),
    }
}
