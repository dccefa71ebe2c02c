//! Batches where the system has no calls for them worth code of their own: one datagram a call.
//! Owns these calls.
//! Must never wait.

use super::{DATAGRAM, Meta, Outgoing};
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, send, sendto};
use std::io;
use std::net::SocketAddr;

/// Receives what waits on a socket.
///
/// # Errors
/// Those of recvfrom(2), about the first.
pub(super) fn receive(fd: i32, buffer: &mut [u8], metas: &mut Vec<Meta>) -> io::Result<()> {
    for (count, datagram) in buffer.chunks_exact_mut(DATAGRAM).enumerate() {
        match recvfrom::<SockaddrStorage>(fd, datagram) {
            Ok((length, from)) => metas.push(Meta {
                length,
                from: from.and_then(|from| {
                    let v4 = from.as_sockaddr_in().map(|a| SocketAddr::V4((*a).into()));
                    v4.or_else(|| from.as_sockaddr_in6().map(|a| SocketAddr::V6((*a).into())))
                }),
                local: None,
                onward: None,
            }),
            Err(_) if count > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends the first datagram; the system chooses the address it comes from.
///
/// # Errors
/// Those of sendto(2).
pub(super) fn transmit(fd: i32, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    let Some((datagram, to)) = datagrams.first() else {
        return Ok(0);
    };
    match to {
        Some((to, _)) => {
            let to = SockaddrStorage::from(*to);
            sendto(fd, datagram, &to, MsgFlags::MSG_DONTWAIT)?
        }
        None => send(fd, datagram, MsgFlags::MSG_DONTWAIT)?,
    };
    Ok(1)
}
