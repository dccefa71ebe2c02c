//! What a relay process has done so far, for metrics.
//! Owns plain counters, read once a second.
//! Must never cost more than an addition on the way of a session.

use std::cell::Cell;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Count(Cell<u64>);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    /// Adds one.
    pub fn up(&self) {
        self.add(1);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Counters of one process.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions begun.
    pub sessions: Count,
    /// Sessions that ended with an error.
    pub failed: Count,
    /// Sessions that ended because nothing moved for too long.
    pub timeouts: Count,
    /// Sessions whose code panicked.
    pub panics: Count,
    /// Connections that did not begin with the PROXY header their listener expects.
    pub headers_missing: Count,
    /// Times accepting paused for want of descriptors or memory.
    pub accept_pauses: Count,
    /// Connections to hosts that failed.
    pub connect_errors: Count,
    /// Connections that went to another host after the first failed.
    pub failovers: Count,
    /// Sessions and requests that waited for a host with room.
    pub queued: Count,
    /// Such that could not, because too many waited.
    pub queue_full: Count,
    /// Such that waited too long.
    pub queue_timeouts: Count,
    /// Such whose client went away.
    pub queue_left: Count,
    /// Bytes from clients to servers.
    pub bytes_in: Count,
    /// Bytes from servers to clients.
    pub bytes_out: Count,
    /// Datagrams passed on.
    pub datagrams: Count,
    /// Datagrams dropped.
    pub lost: Losses,
    /// Server connections closed because enough idle ones were kept.
    pub pool_full: Count,
    /// Items left out of a session's log line.
    pub log_full: Count,
}

/// Why a datagram is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The relay is disabled.
    Disabled,
    /// Not what the protocol says.
    Malformed,
    /// An answer that no query asked for.
    Unknown,
    /// Too many flows or queries.
    Full,
    /// No host may get it.
    NoHost,
    /// The system did not take it.
    Unsent,
}

impl Lost {
    /// All of them, with their label in the metric.
    pub const ALL: [(Lost, &str); 6] = [
        (Lost::Disabled, "disabled"),
        (Lost::Malformed, "malformed"),
        (Lost::Unknown, "unknown"),
        (Lost::Full, "full"),
        (Lost::NoHost, "no_host"),
        (Lost::Unsent, "unsent"),
    ];
}

/// Datagrams dropped, by reason.
#[derive(Debug, Default)]
pub struct Losses([Count; Lost::ALL.len()]);

impl Losses {
    /// Counts one.
    pub fn up(&self, lost: Lost) {
        self.add(lost, 1);
    }

    /// Counts `n`.
    pub fn add(&self, lost: Lost, n: u64) {
        if let Some(count) = self.0.get(lost as usize) {
            count.add(n);
        }
    }

    /// How many there were.
    pub fn get(&self, lost: Lost) -> u64 {
        self.0.get(lost as usize).map_or(0, Count::get)
    }
}
