//! The netlink socket: transactions and dumps.
//! Owns one socket to nf_tables (or conntrack) and its buffers.
//! Must never wait: the kernel answers before the call that asks returns.

use mnl::Bus;
use mnl::mnl_sys::libc;
use nix::sys::socket::{MsgFlags, NetlinkAddr, getsockname, recv, send, setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A transaction of 10,000 hosts is a few megabytes.
const BUFFER: usize = 64 * 1024 * 1024;
/// Messages of dumps come in pieces of at most this size.
const RECEIVE: usize = 256 * 1024;
/// Pieces read for one answer; more would be a kernel that repeats itself.
const PIECES_MAX: usize = 1_000_000;

/// A socket.
pub struct Netlink {
    socket: OwnedFd,
    /// The number by which the kernel knows the socket.
    port: u32,
    sequence: u32,
    /// Lent to the call that reads.
    buffer: Vec<u8>,
}

/// The kernel refused a message of a transaction.
#[derive(Debug)]
pub struct Refusal {
    /// Sequence number of the message; 0 = all of it.
    pub sequence: u32,
    /// Error.
    pub error: io::Error,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal { sequence: 0, error }
    }
}

/// Header of a netlink message.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

fn header(message: &[u8]) -> Option<Header> {
    let half = |at: usize| {
        Some(u16::from_ne_bytes(
            message.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let word = |at: usize| {
        Some(u32::from_ne_bytes(
            message.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    Some(Header {
        kind: half(4)?,
        flags: half(6)?,
        sequence: word(8)?,
    })
}

const HEADER: usize = 16;

/// The error number of an error or end message; 0 = success.
fn error_number(message: &[u8]) -> i32 {
    message
        .get(HEADER..HEADER + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, |b| -i32::from_ne_bytes(b))
}

/// Hands every message that waits to `each` until that answers false.
fn read_pieces(
    mut receive: impl FnMut(&mut [u8]) -> nix::Result<usize>,
    buffer: &mut [u8],
    each: &mut impl FnMut(&Header, &[u8]) -> bool,
) -> io::Result<()> {
    for _ in 0..PIECES_MAX {
        let length = match receive(buffer) {
            Ok(length) => length,
            Err(nix::errno::Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for message in mnl::NlMessages::new(buffer.get(..length).unwrap_or_default()) {
            let message = message?;
            if let Some(header) = header(message)
                && !each(&header, message)
            {
                return Ok(());
            }
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's answer has no end",
    ))
}

/// What is known of an answer while it is read.
struct Answer {
    /// Error number; 0 = success.
    error: i32,
    /// A list was asked for, and its end was not read yet.
    open: bool,
}

impl Answer {
    /// Nothing yet of the answer to a request; one that is not for a list is answered without an end.
    fn to(request: &[u8]) -> Answer {
        let dump = libc::NLM_F_DUMP;
        let list = header(request).is_some_and(|h| i32::from(h.flags) & dump == dump);
        Answer {
            error: 0,
            open: list,
        }
    }

    /// Takes a message; true if there may be more.
    fn take(&mut self, header: &Header, message: &[u8], each: &mut impl FnMut(&[u8])) -> bool {
        match i32::from(header.kind) {
            libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                self.error = error_number(message);
                self.open = false;
                false
            }
            _ => {
                each(message);
                true
            }
        }
    }

    fn result(&self) -> io::Result<()> {
        match (self.error, self.open) {
            (0, false) => Ok(()),
            (0, true) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the kernel's answer was cut off",
            )),
            (error, _) => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl Netlink {
    /// Opens a socket to netfilter.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn open() -> io::Result<Netlink> {
        let socket = mnl::Socket::new(Bus::Netfilter)?;
        // The duplicate is closed on exec, which libmnl forgets: a check script must not inherit the owner's socket.
        let netlink = Netlink::over(super::raw::borrow(&socket).try_clone_to_owned()?)?;
        // Needs CAP_NET_ADMIN, as everything here; without it the first request says so.
        let _ = setsockopt(&netlink, sockopt::SndBufForce, &BUFFER);
        let _ = setsockopt(&netlink, sockopt::RcvBufForce, &BUFFER);
        Ok(netlink)
    }

    /// The same over a socket that somebody opened.
    ///
    /// # Errors
    /// It is no netlink socket.
    pub fn over(socket: OwnedFd) -> io::Result<Netlink> {
        let address: NetlinkAddr = getsockname(socket.as_raw_fd())?;
        Ok(Netlink {
            socket,
            port: address.pid(),
            sequence: 0,
            buffer: vec![0; RECEIVE],
        })
    }

    /// The socket itself.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// The number by which the kernel knows this socket.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The next sequence number of a request outside a batch.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Reads what the kernel has to say and hands every message to `each` until that answers false.
    fn read(&mut self, mut each: impl FnMut(&Header, &[u8]) -> bool) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(RECEIVE, 0);
        let fd = self.socket.as_raw_fd();
        let receive = |buffer: &mut [u8]| recv(fd, buffer, MsgFlags::MSG_DONTWAIT);
        let result = read_pieces(receive, &mut buffer, &mut each);
        self.buffer = buffer;
        result
    }

    /// Sends a batch and answers its first error.
    ///
    /// # Errors
    /// Nothing of the batch was done.
    pub fn transact(&mut self, batch: &[u8]) -> Result<(), Refusal> {
        self.send(batch)?;
        let mut first = None;
        self.read(|header, message| {
            let error = error_number(message);
            if i32::from(header.kind) == libc::NLMSG_ERROR && error != 0 && first.is_none() {
                first = Some(Refusal {
                    sequence: header.sequence,
                    error: io::Error::from_raw_os_error(error),
                });
            }
            true
        })?;
        first.map_or(Ok(()), Err)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What an earlier, interrupted call left behind is not an answer to this one.
        self.read(|_, _| true)?;
        match send(self.socket.as_raw_fd(), bytes, MsgFlags::empty())? {
            sent if sent == bytes.len() => Ok(()),
            _ => Err(io::Error::other(
                "the kernel took only a part of a netlink message",
            )),
        }
    }

    /// Sends one request and hands every message of the answer to `each`.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn request(&mut self, request: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.send(request)?;
        let mut answer = Answer::to(request);
        self.read(|header, message| answer.take(header, message, &mut each))?;
        answer.result()
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn message(kind: i32, flags: i32, code: i32) -> Vec<u8> {
        let mut bytes = 20u32.to_ne_bytes().to_vec();
        bytes.extend(u16::try_from(kind).unwrap().to_ne_bytes());
        bytes.extend(u16::try_from(flags).unwrap().to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend((-code).to_ne_bytes());
        bytes
    }

    /// Reads pieces as the answer to a request with these flags; how many messages of it there were.
    fn read(flags: i32, mut pieces: impl Iterator<Item = Vec<u8>>) -> io::Result<usize> {
        let mut count = 0;
        let mut answer = Answer::to(&message(libc::NFT_MSG_GETSETELEM, flags, 0));
        let receive = |buffer: &mut [u8]| {
            let piece = pieces.next().ok_or(nix::errno::Errno::EAGAIN)?;
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        };
        let mut count_one = |_: &[u8]| count += 1;
        let mut each =
            |header: &Header, message: &[u8]| answer.take(header, message, &mut count_one);
        read_pieces(receive, &mut [0; 64], &mut each)?;
        answer.result().map(|()| count)
    }

    #[test]
    fn a_list_without_its_end_is_no_answer() {
        let part = message(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_MULTI, 0);
        let end = message(libc::NLMSG_DONE, libc::NLM_F_MULTI, 0);
        let list = libc::NLM_F_DUMP;
        let whole = [part.clone(), part.clone(), end];
        assert_eq!(read(list, whole.into_iter()).unwrap(), 2);
        let cut = [part.clone(), part.clone()];
        let error = read(list, cut.into_iter()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let error = read(list, std::iter::repeat(part)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn an_error_at_the_end_of_a_list_counts_and_a_single_answer_needs_no_end() {
        // Connection tracking marks even a single answer as a part of many.
        let part = message(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_MULTI, 0);
        let failed = message(libc::NLMSG_DONE, libc::NLM_F_MULTI, libc::ENOMEM);
        let error = read(libc::NLM_F_DUMP, [part.clone(), failed].into_iter()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
        assert_eq!(read(0, [part].into_iter()).unwrap(), 1);
    }
}
