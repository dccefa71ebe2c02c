//! Changes of our table by somebody else, where the kernel cannot forbid them (before Linux 6.9).
//! Owns a socket in the kernel's notification group of nf_tables.
//! Must never take our own changes for foreign ones.

use super::socket::Netlink;
use nftnl::nftnl_sys::libc;
use nix::fcntl::{FcntlArg, FdFlag};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Bit of the group `NFNLGRP_NFTABLES` (7).
const GROUP: u32 = 1 << 6;
const BUFFER: usize = 8 * 1024 * 1024;
const RECEIVE: usize = 128 * 1024;
/// Pieces read at once; what is left makes the descriptor readable again.
const PIECES_MAX: usize = 10_000;
/// Header and `struct nfgenmsg`.
const ATTRIBUTES: usize = 20;

/// The socket.
pub struct Monitor {
    socket: mnl::Socket,
    table: String,
    own: u32,
}

impl Monitor {
    /// Listens for changes of `table` that are not made with `netlink`.
    ///
    /// # Errors
    /// No right.
    pub fn open(table: &str, netlink: &Netlink) -> io::Result<Monitor> {
        let socket = mnl::Socket::open(mnl::Bus::Netfilter)?;
        let close_on_exec = FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(super::raw::borrow(&socket), close_on_exec)?;
        socket.bind(GROUP, 0)?;
        let _ = setsockopt(&super::raw::borrow(&socket), sockopt::RcvBufForce, &BUFFER);
        Ok(Monitor {
            socket,
            table: table.to_owned(),
            own: netlink.port(),
        })
    }

    /// A duplicate of the descriptor, which becomes readable with every change, our own ones too.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        super::raw::borrow(&self.socket).try_clone_to_owned()
    }

    /// Reads all that waits; true if somebody else removed something of our table.
    pub fn foreign_change(&self) -> bool {
        let mut buffer = vec![0u8; RECEIVE];
        let mut foreign = false;
        for _ in 0..PIECES_MAX {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    let piece = buffer.get(..length).unwrap_or_default();
                    // A removed table is seldom the first message of its piece.
                    foreign |= mnl::NlMessages::new(piece)
                        .filter_map(Result::ok)
                        .any(|message| self.removes(message));
                }
                Err(nix::errno::Errno::EAGAIN) => return foreign,
                // Messages were lost: assume the worst.
                Err(_) => foreign = true,
            }
        }
        foreign
    }

    fn removes(&self, message: &[u8]) -> bool {
        const REMOVALS: [i32; 6] = [
            libc::NFT_MSG_DELTABLE,
            libc::NFT_MSG_DELCHAIN,
            libc::NFT_MSG_DELRULE,
            libc::NFT_MSG_DELSET,
            libc::NFT_MSG_DELSETELEM,
            libc::NFT_MSG_DELOBJ,
        ];
        let kind = message.get(4).copied().unwrap_or(0);
        let sender = message
            .get(12..16)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_ne_bytes);
        // In all these messages the first attribute is the name of the table.
        let name = message
            .get(ATTRIBUTES + 4..)
            .and_then(|rest| rest.split(|b| *b == 0).next());
        REMOVALS.contains(&i32::from(kind))
            && sender != self.own
            && name == Some(self.table.as_bytes())
    }
}
