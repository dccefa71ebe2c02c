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
        let result = self.read_into(&mut buffer, &mut each);
        self.buffer = buffer;
        result
    }

    fn read_into(
        &self,
        buffer: &mut [u8],
        each: &mut impl FnMut(&Header, &[u8]) -> bool,
    ) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        for _ in 0..PIECES_MAX {
            let length = match recv(fd, buffer, MsgFlags::MSG_DONTWAIT) {
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
        Ok(())
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
        let mut error = 0;
        self.read(|header, message| match i32::from(header.kind) {
            libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                error = error_number(message);
                false
            }
            _ => {
                each(message);
                true
            }
        })?;
        match error {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
