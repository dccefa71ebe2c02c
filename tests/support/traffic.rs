//! Clients that connect, exchange and leave without a pause, and count how that went.
//! Owns their threads.
//! Must never judge: the test knows what may be lost.

use super::client::Echo;
use super::{Netns, wait};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

/// Clients of one [`Traffic`].
pub const CLIENTS: usize = 4;

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    /// Connections that were made, used and closed as they should be.
    good: AtomicUsize,
    /// Connections that were refused.
    refused: AtomicUsize,
    /// Connections that broke after they were made.
    broken: AtomicUsize,
}

/// Clients that never pause.
#[derive(Debug)]
pub struct Traffic {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts the clients.
    pub fn start(to: SocketAddr, netns: Option<&Netns>) -> Traffic {
        let counts = Arc::new(Counts::default());
        let threads = (0..CLIENTS)
            .map(|_| {
                let counts = counts.clone();
                let body = move || std::thread::spawn(move || run(to, &counts));
                match netns {
                    Some(netns) => netns.run(body),
                    None => body(),
                }
            })
            .collect();
        Traffic { counts, threads }
    }

    /// Connections that went well so far.
    pub fn good(&self) -> usize {
        self.counts.good.load(SeqCst)
    }

    /// Waits until this many more connections went well.
    pub fn flows(&self, more: usize) {
        let wanted = self.good() + more;
        wait::until_true("traffic flows", || self.good() >= wanted);
    }

    /// Ends the clients: (refused, broken).
    pub fn end(self) -> (usize, usize) {
        self.counts.stop.store(true, SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        (
            self.counts.refused.load(SeqCst),
            self.counts.broken.load(SeqCst),
        )
    }
}

fn run(to: SocketAddr, counts: &Counts) {
    while !counts.stop.load(SeqCst) {
        let outcome = Echo::connect(to).and_then(|mut client| client.exchange(b"hello"));
        match outcome {
            Ok(()) => counts.good.fetch_add(1, SeqCst),
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                counts.refused.fetch_add(1, SeqCst)
            }
            Err(_) => counts.broken.fetch_add(1, SeqCst),
        };
    }
}
