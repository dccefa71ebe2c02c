//! Board: what relay processes must know of each other at once, in memory that they share.
//! Owns its layout: open connections, sessions and waiting sessions by process, and since when a host is up again.
//! Must never be needed to be right for safety of memory: it holds numbers that any relay process could have written.
//!
//! Each process writes only its own cells; what counts is the sum. So a process that dies leaves nothing half done,
//! and clearing its cells gives back what it held.

mod clients;

pub use clients::{Client, Counted};

use backends::sys::random;
use backends::sys::shared::{self, Words};
use conf::limits;
use conf::model::{HostId, RelayId, TableId};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

const PROCESSES: usize = limits::PREFORK_MAX as usize;
const HOSTS: usize = limits::SHARED_HOSTS_MAX;
const TABLES: usize = limits::SHARED_TABLES_MAX;
const RELAYS: usize = limits::SHARED_RELAYS_MAX;
/// Word 0: one more than the highest number of a process so far.
const CONNECTIONS: usize = 1;
/// By host: the second in which it came up again, plus one; 0 = it did not.
const RETURNS: usize = CONNECTIONS + PROCESSES * HOSTS;
/// By process and table: sessions that wait, and the stamp of the first of them.
const WAITING: usize = RETURNS + HOSTS;
const FIRST: usize = WAITING + PROCESSES * TABLES;
/// By process and relay: its sessions.
const SESSIONS: usize = FIRST + PROCESSES * TABLES;
/// The key that clients are found by, then the clients of each process.
const KEY: usize = SESSIONS + PROCESSES * RELAYS;
const CLIENTS: usize = KEY + KEY_WORDS;
const SIZE: usize = CLIENTS + PROCESSES * clients::WORDS;

const KEY_WORDS: usize = 4;
/// Times that a process which stepped back for another tries again.
const INSIST: u32 = 10;

/// How a process fared that wants one more of something limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It has it.
    Entered,
    /// There is no more.
    Full,
    /// The same, but for a moment it looked as if this process had one: another may have been refused for it.
    Yielded,
}

/// The shared memory, as one process sees it.
#[derive(Debug)]
pub struct Board {
    words: Words,
    key: [u8; 4 * KEY_WORDS],
}

impl Board {
    /// Makes the memory.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create() -> io::Result<OwnedFd> {
        let descriptor = shared::create(SIZE)?;
        let words = Words::map(descriptor.as_fd(), SIZE)?;
        for word in 0..KEY_WORDS {
            let mut bytes = [0; 4];
            random::fill(&mut bytes)?;
            if let Some(word) = words.get(KEY + word) {
                word.store(u32::from_le_bytes(bytes), SeqCst);
            }
        }
        Ok(descriptor)
    }

    /// Maps it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn map(descriptor: BorrowedFd<'_>) -> io::Result<Board> {
        let words = Words::map(descriptor, SIZE)?;
        let mut key = [0; 4 * KEY_WORDS];
        for (index, bytes) in key.chunks_mut(4).enumerate() {
            let word = words.get(KEY + index).map_or(0, |word| word.load(SeqCst));
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Ok(Board { words, key })
    }

    /// Process `number` takes part.
    pub fn join(&self, number: u32) {
        if let Some(width) = self.words.get(0) {
            width.fetch_max(number.saturating_add(1).min(limits::PREFORK_MAX), SeqCst);
        }
    }

    /// Numbers of the processes that may have a part.
    fn processes(&self) -> std::ops::Range<usize> {
        let width = self.words.get(0).map_or(0, |width| width.load(SeqCst));
        0..(width as usize).min(PROCESSES)
    }

    /// Forgets what process `number` held: it is no more.
    pub fn clear(&self, number: u32) {
        let process = number as usize;
        if process >= PROCESSES {
            return;
        }
        for host in 0..HOSTS {
            zero(self.words.get(CONNECTIONS + process * HOSTS + host));
        }
        for table in 0..TABLES {
            zero(self.words.get(WAITING + process * TABLES + table));
        }
        for relay in 0..RELAYS {
            zero(self.words.get(SESSIONS + process * RELAYS + relay));
        }
        self.clear_clients(process);
    }

    /// Whether connections to a host are counted here.
    pub fn covers(&self, host: HostId) -> bool {
        (host.0 as usize) < HOSTS
    }

    fn host_cell(&self, process: usize, host: HostId) -> Option<&AtomicU32> {
        let host = host.0 as usize;
        if host >= HOSTS || process >= PROCESSES {
            return None;
        }
        self.words.get(CONNECTIONS + process * HOSTS + host)
    }

    /// Open connections to a host, of all processes.
    pub fn connections(&self, host: HostId) -> u32 {
        let cells = self
            .processes()
            .filter_map(|process| self.host_cell(process, host));
        sum(cells)
    }

    /// Process `number` wants to open a connection to a host that takes at most `max`.
    pub fn connect(&self, number: u32, host: HostId, max: u32) -> Entry {
        let Some(own) = self.host_cell(number as usize, host) else {
            return Entry::Full;
        };
        enter(own, max, || self.connections(host))
    }

    /// It opens one to a host without limit.
    pub fn connected(&self, number: u32, host: HostId) {
        if let Some(own) = self.host_cell(number as usize, host) {
            own.fetch_add(1, SeqCst);
        }
    }

    /// It closed one.
    pub fn closed(&self, number: u32, host: HostId) {
        if let Some(own) = self.host_cell(number as usize, host) {
            down(own);
        }
    }
}

impl Board {
    /// Whether sessions of a relay are counted here.
    pub fn covers_relay(&self, relay: RelayId) -> bool {
        (relay.0 as usize) < RELAYS
    }

    fn relay_cell(&self, process: usize, relay: RelayId) -> Option<&AtomicU32> {
        let relay = relay.0 as usize;
        if relay >= RELAYS || process >= PROCESSES {
            return None;
        }
        self.words.get(SESSIONS + process * RELAYS + relay)
    }

    /// Sessions of a relay, of all processes.
    pub fn sessions(&self, relay: RelayId) -> u32 {
        let cells = self
            .processes()
            .filter_map(|process| self.relay_cell(process, relay));
        sum(cells)
    }

    /// Process `number` wants to begin a session of a relay that may have at most `max`.
    pub fn begin(&self, number: u32, relay: RelayId, max: Option<u32>) -> bool {
        let Some(own) = self.relay_cell(number as usize, relay) else {
            return false;
        };
        insist(number, own, max, || self.sessions(relay))
    }

    /// One of its sessions ended.
    pub fn ended(&self, number: u32, relay: RelayId) {
        if let Some(own) = self.relay_cell(number as usize, relay) {
            down(own);
        }
    }
}

impl Board {
    /// A host came up again in this second of the system's monotonic clock.
    pub fn returned(&self, host: HostId, second: u32) {
        if self.covers(host)
            && let Some(word) = self.words.get(RETURNS + host.0 as usize)
        {
            word.store(second.saturating_add(1), SeqCst);
        }
    }

    /// The second in which a host came up again last.
    pub fn returned_at(&self, host: HostId) -> Option<u32> {
        if !self.covers(host) {
            return None;
        }
        let word = self.words.get(RETURNS + host.0 as usize)?;
        word.load(SeqCst).checked_sub(1)
    }

    fn table_cell(&self, region: usize, process: usize, table: TableId) -> Option<&AtomicU32> {
        let table = table.0 as usize;
        if table >= TABLES || process >= PROCESSES {
            return None;
        }
        self.words.get(region + process * TABLES + table)
    }

    /// Whether queues of this table are known here.
    pub fn covers_table(&self, table: TableId) -> bool {
        (table.0 as usize) < TABLES
    }

    /// Sessions that wait for a table, of all processes.
    pub fn waiting(&self, table: TableId) -> u32 {
        let cells = self
            .processes()
            .filter_map(|process| self.table_cell(WAITING, process, table));
        sum(cells)
    }

    /// A session of process `number` wants to wait where at most `max` may.
    pub fn wait(&self, number: u32, table: TableId, max: u32) -> bool {
        let own = self.table_cell(WAITING, number as usize, table);
        own.is_some_and(|own| insist(number, own, Some(max), || self.waiting(table)))
    }

    /// One waits no more.
    pub fn waited(&self, number: u32, table: TableId) {
        if let Some(own) = self.table_cell(WAITING, number as usize, table) {
            down(own);
        }
    }

    /// Since when the first session of process `number` waits: a stamp of milliseconds that may wrap.
    pub fn set_first(&self, number: u32, table: TableId, stamp: u32) {
        if let Some(cell) = self.table_cell(FIRST, number as usize, table) {
            cell.store(stamp, SeqCst);
        }
    }

    /// The process whose first session has waited longest at stamp `now`; those in the set `without` are passed over.
    pub fn longest(&self, table: TableId, now: u32, without: u64) -> Option<u32> {
        let waiting = |process: &usize| {
            without >> *process & 1 == 0
                && self
                    .table_cell(WAITING, *process, table)
                    .is_some_and(|cell| cell.load(SeqCst) > 0)
        };
        let age = |process: &usize| {
            let first = self.table_cell(FIRST, *process, table);
            first.map_or(0, |cell| now.wrapping_sub(cell.load(SeqCst)))
        };
        // Of equals the lowest number.
        let longest = self.processes().rev().filter(waiting).max_by_key(age)?;
        u32::try_from(longest).ok()
    }
}

/// Counts `own` up if the sum stays within `max`. Two processes that take the last one at the same time both see
/// too large a sum and both step back: never one too many.
fn enter(own: &AtomicU32, max: u32, sum: impl Fn() -> u32) -> Entry {
    if sum() >= max {
        return Entry::Full;
    }
    own.fetch_add(1, SeqCst);
    if sum() <= max {
        return Entry::Entered;
    }
    down(own);
    Entry::Yielded
}

/// The same for one that has no second chance: after stepping back for another it tries again, each process at another
/// pace. Without `max` it counts only.
fn insist(number: u32, own: &AtomicU32, max: Option<u32>, sum: impl Fn() -> u32) -> bool {
    let Some(max) = max else {
        own.fetch_add(1, SeqCst);
        return true;
    };
    for round in 0..INSIST {
        match enter(own, max, &sum) {
            Entry::Entered => return true,
            Entry::Full => return false,
            Entry::Yielded => {}
        }
        for _ in 0..(number + 1) << round {
            std::hint::spin_loop();
        }
    }
    false
}

/// Only the owner and, after its end, the parent write to a cell; it must not wrap all the same.
fn down(own: &AtomicU32) {
    let _ = own.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1));
}

fn zero(cell: Option<&AtomicU32>) {
    // Reading first keeps a page clean that was never used. Linux gives memory to it all the same.
    if let Some(cell) = cell
        && cell.load(SeqCst) != 0
    {
        cell.store(0, SeqCst);
    }
}

fn sum<'a>(cells: impl Iterator<Item = &'a AtomicU32>) -> u32 {
    cells.fold(0, |all, cell| all.saturating_add(cell.load(SeqCst)))
}

#[cfg(test)]
mod tests;
