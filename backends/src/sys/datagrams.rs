//! Datagrams in batches, and answers from the address that was asked.
//! Owns the buffers of a batch and the system calls around them.
//! Must never look into a datagram.
#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams received by one system call.
const BATCH: usize = 32;
/// Longest datagram.
const DATAGRAM: usize = 65_536;

/// A datagram of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meta {
    length: usize,
    from: Option<SocketAddr>,
    local: Option<IpAddr>,
}

/// Room for a batch of datagrams. Memory is touched only as far as datagrams fill it.
pub struct Batch {
    buffer: Box<[u8]>,
    metas: Vec<Meta>,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            buffer: vec![0; BATCH * DATAGRAM].into_boxed_slice(),
            metas: Vec::with_capacity(BATCH),
        }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Batch {
    /// Receives what waits on a non-blocking socket, and answers whether more may wait.
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits; the fate of earlier datagrams (ICMP errors).
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<bool> {
        self.metas.clear();
        receive(
            socket.as_fd().as_raw_fd(),
            &mut self.buffer,
            &mut self.metas,
        )?;
        Ok(self.metas.len() == BATCH)
    }

    /// Calls `act` for each datagram, with its sender (none on connected sockets) and the address it was sent to (if
    /// the socket was told to keep it, see [`keep_local`]).
    pub fn each(&mut self, mut act: impl FnMut(&mut [u8], Option<SocketAddr>, Option<IpAddr>)) {
        for (datagram, meta) in self.buffer.chunks_exact_mut(DATAGRAM).zip(&self.metas) {
            if let Some(datagram) = datagram.get_mut(..meta.length) {
                act(datagram, meta.from, meta.local);
            }
        }
    }
}

/// Sends a datagram, from `local` if it is given.
///
/// # Errors
/// Those of sendmsg(2).
#[cfg(target_os = "linux")]
pub fn send(
    socket: impl AsFd,
    datagram: &[u8],
    to: SocketAddr,
    local: Option<IpAddr>,
) -> io::Result<usize> {
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, sendto};
    let fd = socket.as_fd().as_raw_fd();
    let to = SockaddrStorage::from(to);
    let slices = [io::IoSlice::new(datagram)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let sent = match local {
        None => sendto(fd, datagram, &to, flags),
        Some(IpAddr::V4(ip)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(ip.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            sendmsg(
                fd,
                &slices,
                &[ControlMessage::Ipv4PacketInfo(&info)],
                flags,
                Some(&to),
            )
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            sendmsg(
                fd,
                &slices,
                &[ControlMessage::Ipv6PacketInfo(&info)],
                flags,
                Some(&to),
            )
        }
    };
    Ok(sent?)
}

/// The same; this system chooses the address.
///
/// # Errors
/// Those of sendto(2).
#[cfg(not(target_os = "linux"))]
pub fn send(
    socket: impl AsFd,
    datagram: &[u8],
    to: SocketAddr,
    _local: Option<IpAddr>,
) -> io::Result<usize> {
    use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
    let to = SockaddrStorage::from(to);
    let fd = socket.as_fd().as_raw_fd();
    Ok(sendto(fd, datagram, &to, MsgFlags::MSG_DONTWAIT)?)
}

/// Has a socket that is bound to no particular address tell which one each datagram was sent to.
///
/// # Errors
/// Those of setsockopt(2).
#[cfg(target_os = "linux")]
pub fn keep_local(socket: impl AsFd, v6: bool) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    match v6 {
        true => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        false => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
    }
    Ok(())
}

/// Not known how on this system.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn keep_local(_: impl AsFd, _v6: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn receive(fd: i32, buffer: &mut [u8], metas: &mut Vec<Meta>) -> io::Result<()> {
    use std::mem::{MaybeUninit, zeroed};
    /// Room for the one control message that was asked for.
    type Control = [u64; 8];
    let mut names: [MaybeUninit<libc::sockaddr_storage>; BATCH] = [MaybeUninit::uninit(); BATCH];
    let mut controls: [MaybeUninit<Control>; BATCH] = [MaybeUninit::uninit(); BATCH];
    // SAFETY: an iovec and an mmsghdr are plain data; all zeros is a valid empty one.
    let (mut vectors, mut headers) = unsafe {
        (
            zeroed::<[libc::iovec; BATCH]>(),
            zeroed::<[libc::mmsghdr; BATCH]>(),
        )
    };
    let parts = buffer
        .chunks_exact_mut(DATAGRAM)
        .zip(&mut vectors)
        .zip(&mut names)
        .zip(&mut controls);
    for (header, (((datagram, vector), name), control)) in headers.iter_mut().zip(parts) {
        vector.iov_base = datagram.as_mut_ptr().cast();
        vector.iov_len = datagram.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_hdr.msg_control = control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = size_of::<Control>();
    }
    // SAFETY: each of the BATCH headers points to live memory of the lengths it names, for the duration of the call.
    let count = unsafe {
        libc::recvmmsg(
            fd,
            headers.as_mut_ptr(),
            BATCH as libc::c_uint,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    for header in headers.iter().take(count) {
        metas.push(Meta {
            length: header.msg_len as usize,
            // SAFETY: the kernel filled in this header; its name has the length it says.
            from: unsafe { address(&header.msg_hdr) },
            // SAFETY: the same, for its control messages.
            local: unsafe { local(&header.msg_hdr) },
        });
    }
    Ok(())
}

/// The sender in a received header.
///
/// # Safety
/// `msg_name` must point to `msg_namelen` bytes that the kernel wrote.
#[cfg(target_os = "linux")]
unsafe fn address(header: &libc::msghdr) -> Option<SocketAddr> {
    use std::net::{SocketAddrV4, SocketAddrV6};
    if (header.msg_namelen as usize) < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: at least the family was written (checked); its place is the same in all socket addresses.
    let family = unsafe { header.msg_name.cast::<libc::sa_family_t>().read_unaligned() };
    match i32::from(family) {
        libc::AF_INET if header.msg_namelen as usize >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: so many bytes were written (checked).
            let name = unsafe { header.msg_name.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = name.sin_addr.s_addr.to_ne_bytes();
            Some(SocketAddrV4::new(ip.into(), u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 if header.msg_namelen as usize >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: so many bytes were written (checked).
            let name = unsafe {
                header
                    .msg_name
                    .cast::<libc::sockaddr_in6>()
                    .read_unaligned()
            };
            let ip = name.sin6_addr.s6_addr.into();
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The address a datagram was sent to, from its control messages.
///
/// # Safety
/// `msg_control` must point to `msg_controllen` bytes that the kernel wrote.
#[cfg(target_os = "linux")]
unsafe fn local(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the macro looks at lengths before it hands out a pointer into the buffer.
    let message = unsafe { libc::CMSG_FIRSTHDR(header) };
    if message.is_null() {
        return None;
    }
    // SAFETY: not null, so a whole header is there; it is aligned as the buffer is.
    let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
    // SAFETY: data follows the header.
    let data = unsafe { libc::CMSG_DATA(message) };
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: the kernel wrote this kind with this content.
            let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
            Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: the kernel wrote this kind with this content.
            let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
            Some(IpAddr::from(info.ipi6_addr.s6_addr))
        }
        _ => None,
    }
}

/// One datagram a call: this system's batches are not worth code of their own.
#[cfg(not(target_os = "linux"))]
fn receive(fd: i32, buffer: &mut [u8], metas: &mut Vec<Meta>) -> io::Result<()> {
    use nix::sys::socket::{SockaddrStorage, recvfrom};
    for (count, datagram) in buffer.chunks_exact_mut(DATAGRAM).enumerate() {
        match recvfrom::<SockaddrStorage>(fd, datagram) {
            Ok((length, from)) => metas.push(Meta {
                length,
                from: from.and_then(|from| {
                    let v4 = from.as_sockaddr_in().map(|a| SocketAddr::V4((*a).into()));
                    v4.or_else(|| from.as_sockaddr_in6().map(|a| SocketAddr::V6((*a).into())))
                }),
                local: None,
            }),
            Err(_) if count > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::UdpSocket;

    fn drain(
        batch: &mut Batch,
        socket: &UdpSocket,
    ) -> Vec<(Vec<u8>, Option<SocketAddr>, Option<IpAddr>)> {
        let mut got = Vec::new();
        batch.receive(socket).unwrap();
        batch.each(|datagram, from, local| got.push((datagram.to_vec(), from, local)));
        got
    }

    #[test]
    fn batches_bring_datagrams_senders_and_addresses() {
        for (any, one, other) in [
            ("0.0.0.0:0", "127.0.0.1", "127.0.0.9"),
            ("[::]:0", "::1", "::1"),
        ] {
            let server = UdpSocket::bind(any).unwrap();
            server.set_nonblocking(true).unwrap();
            keep_local(&server, any.starts_with('[')).unwrap();
            let port = server.local_addr().unwrap().port();
            let mut batch = Batch::default();
            let error = batch.receive(&server).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            let one: IpAddr = one.parse().unwrap();
            let other: IpAddr = other.parse().unwrap();
            let client = UdpSocket::bind((one, 0)).unwrap();
            let from = Some(client.local_addr().unwrap());
            client.send_to(b"first", (one, port)).unwrap();
            client.send_to(b"", (other, port)).unwrap();
            client.send_to(&[7; 60_000], (one, port)).unwrap();
            let got = drain(&mut batch, &server);
            assert_eq!(got.len(), 3);
            let local = |ip| {
                if cfg!(target_os = "linux") {
                    Some(ip)
                } else {
                    None
                }
            };
            assert_eq!(got.first(), Some(&(b"first".to_vec(), from, local(one))));
            assert_eq!(got.get(1), Some(&(vec![], from, local(other))));
            assert_eq!(got.last(), Some(&(vec![7; 60_000], from, local(one))));
            // The answer comes from the address that was asked.
            send(
                &server,
                b"answer",
                client.local_addr().unwrap(),
                local(other),
            )
            .unwrap();
            let mut buffer = [0; 16];
            let (count, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((count, from.port()), (6, port));
            if cfg!(target_os = "linux") {
                assert_eq!(from.ip(), other);
            }
        }
    }

    #[test]
    fn a_full_batch_says_that_more_may_wait() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        for _ in 0..BATCH + 1 {
            client.send(b"x").unwrap();
        }
        let mut batch = Batch::default();
        assert!(batch.receive(&server).unwrap());
        assert!(!batch.receive(&server).unwrap());
        let mut count = 0;
        batch.each(|_, _, _| count += 1);
        assert_eq!(count, 1);
    }
}
