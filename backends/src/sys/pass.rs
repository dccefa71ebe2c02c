//! Bytes and descriptors over a Unix stream socket.
//! Owns the one pair of calls that passes descriptors between processes.
//! Must never hand out a descriptor that a later exec would inherit.
#![allow(unsafe_code)]

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors of one message; Linux takes 253, the BSDs fewer than that is needed nowhere.
pub const DESCRIPTORS_MAX: usize = 200;

/// Sends bytes, and `descriptors` with the first of them; answers how many bytes went.
///
/// # Errors
/// Those of sendmsg(2); `WouldBlock` on a non-blocking socket. Nothing went in that case.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(sent)
}

/// Receives bytes into `buffer` and appends the descriptors that came with them; 0 = the other end closed.
///
/// # Errors
/// Those of recvmsg(2); `InvalidData` if descriptors were lost.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    #[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let lost = message.flags.contains(MsgFlags::MSG_CTRUNC);
    if !lost {
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
                descriptors.extend(
                    raw.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
    }
    if lost {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "descriptors were lost on the way",
        ));
    }
    Ok(message.bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_arrive_in_order_and_are_the_same_files() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut reader, writer) = nix::unistd::pipe()
            .map(|(r, w)| (File::from(r), File::from(w)))
            .unwrap();
        let null = File::open("/dev/null").unwrap();
        let sent = send(a.as_fd(), b"hello", &[null.as_fd(), writer.as_fd()]).unwrap();
        assert_eq!(sent, 5);
        drop(writer);
        let mut buffer = [0; 16];
        let mut fds = Vec::new();
        assert_eq!(receive(b.as_fd(), &mut buffer, &mut fds).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(fds.len(), 2);
        let mut writer = File::from(fds.pop().unwrap());
        writer.write_all(b"x").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(File::from(fds.pop().unwrap()).stream_position().is_ok());
        drop(a);
        assert_eq!(receive(b.as_fd(), &mut buffer, &mut fds).unwrap(), 0);
    }

    #[test]
    fn the_largest_number_of_descriptors_fits() {
        let (a, b) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let many = vec![null.as_fd(); DESCRIPTORS_MAX];
        send(a.as_fd(), b"x", &many).unwrap();
        let mut fds = Vec::new();
        receive(b.as_fd(), &mut [0; 1], &mut fds).unwrap();
        assert_eq!(fds.len(), DESCRIPTORS_MAX);
    }
}
