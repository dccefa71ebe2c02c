//! Free ports that no two tests get at the same time, in whatever process they run.
//!
//! Ports lie below the range that systems use for outgoing connections; a locked file per port keeps it ours until
//! the process ends, so a stopped server can come back on its port.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

const FIRST: u16 = 10_000;
const LAST: u16 = 29_999;

static HELD: Mutex<(Option<u16>, Vec<Flock<File>>)> = Mutex::new((None, Vec::new()));

/// A port that is free on all addresses, for TCP and UDP.
pub fn port() -> u16 {
    let directory = std::env::temp_dir().join("relayd-test-ports");
    std::fs::create_dir_all(&directory).unwrap();
    let mut held = HELD.lock().unwrap_or_else(|e| e.into_inner());
    let start = held.0.unwrap_or_else(|| {
        let spread = std::process::id().wrapping_mul(7919) % u32::from(LAST - FIRST);
        FIRST + u16::try_from(spread).unwrap()
    });
    let mut next = start;
    for _ in FIRST..LAST {
        let port = next;
        next = if next >= LAST { FIRST } else { next + 1 };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(port.to_string()))
            .unwrap();
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            continue;
        };
        if unused(port) {
            held.0 = Some(next);
            held.1.push(lock);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {LAST}");
}

fn unused(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok()
}
