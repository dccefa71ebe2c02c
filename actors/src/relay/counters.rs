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
    /// Connections closed at once because of [`conf::limits::SESSIONS_MAX`].
    pub refused: Count,
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
    /// Datagrams dropped: malformed, unknown id, no host, table full.
    pub datagrams_dropped: Count,
}
