//! Socket addresses as the C structure of this platform.
//! Owns the platform's family numbers and whether there is a length byte.
//! Must never trust what it decodes: an unknown family is "no address".

use super::bytes::{get_port, get_u32, put};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Whether `sockaddr` begins with a length byte (all BSDs).
const LENGTH_BYTE: bool = cfg!(not(target_os = "linux"));
/// `AF_INET`
const INET: u8 = 2;
/// `AF_INET6`
const INET6: u8 = if cfg!(target_os = "linux") {
    10
} else if cfg!(any(target_os = "freebsd", target_os = "dragonfly")) {
    28
} else if cfg!(any(target_os = "macos", target_os = "ios")) {
    30
} else {
    24
};

fn put_family(image: &mut [u8], offset: usize, length: u8, family: u8) {
    if LENGTH_BYTE {
        put(image, offset, &[length, family]);
    } else {
        put(image, offset, &u16::from(family).to_ne_bytes());
    }
}

/// Writes `address` into a `sockaddr_storage` at `offset`.
pub(super) fn put_address(image: &mut [u8], offset: usize, address: SocketAddr) {
    put(image, offset + 2, &address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            put_family(image, offset, 16, INET);
            put(image, offset + 4, &v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            put_family(image, offset, 28, INET6);
            put(image, offset + 8, &v6.ip().octets());
            put(image, offset + 24, &v6.scope_id().to_ne_bytes());
        }
    }
}

/// Reads the `sockaddr_storage` at `offset`; `None` if it holds no internet address.
pub(super) fn get_address(image: &[u8], offset: usize) -> Option<SocketAddr> {
    let bytes = image.get(offset..offset.checked_add(28)?)?;
    let family = if LENGTH_BYTE {
        u16::from(*bytes.get(1)?)
    } else {
        u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?)
    };
    let port = get_port(bytes, 2);
    if family == u16::from(INET) {
        let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
        Some(SocketAddr::from((Ipv4Addr::from(octets), port)))
    } else if family == u16::from(INET6) {
        let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
        let scope = get_u32(bytes, 24);
        Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into())
    } else {
        None
    }
}
