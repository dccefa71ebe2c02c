//! Batches on Linux: recvmmsg(2) and sendmmsg(2).
//! Owns the arrays these calls read and write.
//! Must never let the kernel see memory that does not outlive the call.

use super::{BATCH, DATAGRAM, Meta, Outgoing};
use socket2::SockAddr;
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for one control message: an address of ours.
type Control = [u64; 8];

/// Receives what waits on a socket.
///
/// # Errors
/// Those of recvmmsg(2).
pub(super) fn receive(fd: i32, buffer: &mut [u8], metas: &mut Vec<Meta>) -> io::Result<()> {
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
            onward: None,
        });
    }
    Ok(())
}

/// Sends datagrams, at most a batch; answers how many the kernel took.
///
/// # Errors
/// Those of sendmmsg(2), about the first.
pub(super) fn transmit(fd: i32, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut names: [Option<SockAddr>; BATCH] = [const { None }; BATCH];
    let mut controls: [Control; BATCH] = [[0; 8]; BATCH];
    // SAFETY: an iovec and an mmsghdr are plain data; all zeros is a valid empty one.
    let (mut vectors, mut headers) = unsafe {
        (
            zeroed::<[libc::iovec; BATCH]>(),
            zeroed::<[libc::mmsghdr; BATCH]>(),
        )
    };
    let parts = datagrams
        .iter()
        .zip(&mut vectors)
        .zip(&mut names)
        .zip(&mut controls);
    for (header, ((((datagram, to), vector), name), control)) in headers.iter_mut().zip(parts) {
        // The kernel only reads it.
        vector.iov_base = datagram.as_ptr().cast_mut().cast();
        vector.iov_len = datagram.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        let Some((address, local)) = to else {
            continue;
        };
        let name = name.insert(SockAddr::from(*address));
        header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = name.len();
        if let Some(local) = local {
            come_from(&mut header.msg_hdr, control, *local);
        }
    }
    let count = datagrams.len().min(BATCH) as libc::c_uint;
    // SAFETY: each of the `count` headers points to live memory of the lengths it names, for the duration of the call.
    let count = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Has a datagram come from one of our addresses.
fn come_from(header: &mut libc::msghdr, control: &mut Control, local: IpAddr) {
    match local {
        IpAddr::V4(ip) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(ip.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(header, control, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(ip) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            put(
                header,
                control,
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                info,
            );
        }
    }
}

/// Makes `info` the one control message of `header`, in `control`.
fn put<T>(header: &mut libc::msghdr, control: &mut Control, level: i32, kind: i32, info: T) {
    let size = size_of::<T>() as libc::c_uint;
    // SAFETY: arithmetic only.
    let (space, length) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
    if space as usize > size_of::<Control>() {
        return;
    }
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = space as _;
    // SAFETY: the header names a buffer with room for a control message of this size (checked), aligned for it.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = length as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(info);
    }
}

/// The sender in a received header.
///
/// # Safety
/// `msg_name` must point to `msg_namelen` bytes that the kernel wrote.
unsafe fn address(header: &libc::msghdr) -> Option<SocketAddr> {
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
