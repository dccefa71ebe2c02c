//! Bytes that shall arrive in pieces: whether the other end of a connection has read the last piece.

use std::net::{SocketAddr, TcpStream};

/// How far what was written to a connection within this machine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// On its way.
    Sent,
    /// In the other end's socket.
    Arrived,
    /// The other end has read it, or is gone.
    Read,
}

/// The progress of all that was written so far; `None` where the system does not say, and pieces may come as one.
pub fn progress(here: SocketAddr, there: SocketAddr) -> Option<Progress> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let (here, there) = (name(here)?, name(there)?);
    // After a socket's two ends and its state: bytes that it has sent without an answer, and received unread. The table
    // may be long, and whoever checks does not wait for long: only one line is taken apart.
    let queues = |local: &str, remote: &str| {
        let ends = format!("{local} {remote} ");
        let (_, rest) = table.split_once(&ends)?;
        rest.split_whitespace().nth(1)
    };
    let (Some(sent), Some(unread)) = (queues(&here, &there), queues(&there, &here)) else {
        return Some(Progress::Read);
    };
    Some(
        match (sent.starts_with("00000000:"), unread.ends_with(":00000000")) {
            (false, _) => Progress::Sent,
            (true, false) => Progress::Arrived,
            (true, true) => Progress::Read,
        },
    )
}

/// Waits until all that was written is read; for servers with a thread of their own.
pub fn wait_read(stream: &TcpStream) {
    let (Ok(here), Ok(there)) = (stream.local_addr(), stream.peer_addr()) else {
        return;
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while progress(here, there).is_some_and(|p| p < Progress::Read)
        && std::time::Instant::now() < end
    {
        std::thread::yield_now();
    }
}

/// An address as `/proc/net/tcp` has it.
fn name(address: SocketAddr) -> Option<String> {
    match address {
        SocketAddr::V4(v4) => {
            let ip = u32::from_ne_bytes(v4.ip().octets());
            Some(format!("{ip:08X}:{:04X}", v4.port()))
        }
        SocketAddr::V6(_) => None,
    }
}
