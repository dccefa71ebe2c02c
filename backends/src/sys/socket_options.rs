//! Socket options that no library has.
//! Owns their system calls.
//! Must never decide whether an option is wanted.
#![allow(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// Drops packets that arrive with a smaller TTL or hop limit (GTSM, RFC 5082).
///
/// # Errors
/// The system does not know the option for this family, or refuses the value.
pub fn set_min_ttl(socket: impl AsFd, family: IpAddr, ttl: u8) -> io::Result<()> {
    let Some((level, option)) = min_ttl(family) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let value = libc::c_int::from(ttl);
    // SAFETY: the descriptor is open because its owner is borrowed; pointer and length are those of a live integer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(target_os = "linux")]
fn min_ttl(family: IpAddr) -> Option<(libc::c_int, libc::c_int)> {
    /// From the kernel's `linux/in6.h`.
    const IPV6_MINHOPCOUNT: libc::c_int = 73;
    Some(match family {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT),
    })
}

#[cfg(any(target_os = "freebsd", target_os = "openbsd"))]
fn min_ttl(family: IpAddr) -> Option<(libc::c_int, libc::c_int)> {
    /// From the kernels' `netinet/in.h`.
    const IP_MINTTL: libc::c_int = if cfg!(target_os = "openbsd") { 32 } else { 66 };
    match family {
        IpAddr::V4(_) => Some((libc::IPPROTO_IP, IP_MINTTL)),
        IpAddr::V6(_) => None,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
fn min_ttl(_: IpAddr) -> Option<(libc::c_int, libc::c_int)> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[cfg(target_os = "linux")]
    #[test]
    fn packets_from_afar_are_dropped() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let local = listener.local_addr().unwrap();
            // The loopback's packets have TTL 64.
            set_min_ttl(&listener, local.ip(), 64).unwrap();
            let mut client = TcpStream::connect(local).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
            set_min_ttl(&server, local.ip(), 65).unwrap();
            server.set_nonblocking(true).unwrap();
            client.write_all(b"y").unwrap();
            let error = server.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
