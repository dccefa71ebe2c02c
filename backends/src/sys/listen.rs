//! Listening sockets, made by the parent and handed to the processes that serve them.
//! Owns how a listener is opened so that several processes share an address and nobody else gets in.
//! Must never accept a connection.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Transport of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Transport {
    fn parts(self) -> (Type, Protocol) {
        match self {
            Transport::Tcp => (Type::STREAM, Protocol::TCP),
            Transport::Udp => (Type::DGRAM, Protocol::UDP),
        }
    }
}

fn socket(address: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let (kind, protocol) = transport.parts();
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Asks whether `address` is free: sockets that share an address must not join those of another daemon.
///
/// # Errors
/// `AddrInUse`, or what else keeps the address from being used.
pub fn probe(address: SocketAddr, transport: Transport, foreign: bool) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = socket(address, transport)?;
    if foreign {
        let _ = set_foreign(&socket, address.is_ipv6());
    }
    // Without it, connections of an earlier run in TIME_WAIT would count as a user of the address.
    socket.set_reuse_address(transport == Transport::Tcp)?;
    socket.bind(&SockAddr::from(address))
}

/// Lets a socket have, and take packets for, addresses that are not ours: what a packet filter diverts to it.
///
/// # Errors
/// No right (CAP_NET_ADMIN), or not possible on this system.
pub fn set_foreign(socket: impl AsFd, v6: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(&socket);
        match v6 {
            false => socket.set_ip_transparent_v4(true),
            true => socket.set_ip_transparent_v6(true),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (socket, v6);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Opens one of several listeners of `address`: the kernel spreads connections over them. A `foreign` one takes what is
/// diverted to it, where it may ([`set_foreign`]).
///
/// # Errors
/// Those of socket(2), bind(2), listen(2).
pub fn shared(
    address: SocketAddr,
    transport: Transport,
    backlog: u32,
    foreign: bool,
) -> io::Result<OwnedFd> {
    let socket = socket(address, transport)?;
    if foreign {
        // Without it the listener still serves what is sent to its own address.
        let _ = set_foreign(&socket, address.is_ipv6());
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    if transport == Transport::Tcp {
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    }
    Ok(socket.into())
}

/// Opens a listener of its own.
///
/// # Errors
/// As [`shared`].
pub fn exclusive(address: SocketAddr, backlog: u32) -> io::Result<OwnedFd> {
    let socket = socket(address, Transport::Tcp)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Address a listener got.
///
/// # Errors
/// Those of getsockname(2).
pub fn local_address(listener: &OwnedFd) -> io::Result<Option<SocketAddr>> {
    Ok(socket2::SockRef::from(listener).local_addr()?.as_socket())
}

/// A socket for ICMP echo: raw with privilege, else the datagram kind where the system has it.
///
/// # Errors
/// Neither is permitted.
pub fn icmp(v6: bool) -> io::Result<OwnedFd> {
    let (domain, protocol) = if v6 {
        (Domain::IPV6, Protocol::ICMPV6)
    } else {
        (Domain::IPV4, Protocol::ICMPV4)
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))
        .or_else(|_| Socket::new(domain, Type::DGRAM, Some(protocol)))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Opens the control socket, mode 0660. A socket nobody answers on is a leftover and is replaced.
///
/// # Errors
/// `AddrInUse` if a daemon answers there; `AlreadyExists` if the path is no socket.
pub fn control(path: &Path) -> io::Result<OwnedFd> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "exists and is not a socket",
            ));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another daemon answers there",
            ));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    // Nobody may connect between bind and chmod.
    let mask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o117));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(mask);
    let listener = listener?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_shared_with_ourselves_only() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let first = shared("127.0.0.1:0".parse().unwrap(), transport, 10, false).unwrap();
            let address = local_address(&first).unwrap().unwrap();
            let error = probe(address, transport, false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{transport:?}");
            let second = shared(address, transport, 10, false).unwrap();
            drop((first, second));
            probe(address, transport, false).unwrap();
        }
    }

    #[test]
    fn a_stale_control_socket_is_replaced_and_a_live_one_respected() {
        let path = std::env::temp_dir().join(format!("relayd-control-{}.sock", std::process::id()));
        let first = control(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(control(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(control(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(
            control(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        fs::remove_file(&path).unwrap();
    }
}
