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

/// Bytes written to a TCP socket that its peer has not acknowledged.
///
/// # Errors
/// Those of ioctl(2); the system has no such question.
#[cfg(target_os = "linux")]
pub fn unsent(socket: impl AsFd) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open because its owner is borrowed; TIOCOUTQ (SIOCOUTQ) writes one integer.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    match result {
        0 => Ok(u64::try_from(count).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes written to a TCP socket that its peer has not acknowledged.
///
/// # Errors
/// Always: the system has no such question.
#[cfg(not(target_os = "linux"))]
pub fn unsent(_: impl AsFd) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_peer_has_no_room_for_is_unsent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = client.write(&[0; 65536]) {
            written += count as u64;
        }
        let unsent_now = unsent(&client).unwrap();
        assert!(
            unsent_now > 0 && unsent_now < written,
            "{unsent_now} of {written}"
        );
        let mut buffer = vec![0; usize::try_from(written).unwrap()];
        server.read_exact(&mut buffer).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while unsent(&client).unwrap() > 0 {
            assert!(std::time::Instant::now() < end);
            std::thread::yield_now();
        }
    }

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
