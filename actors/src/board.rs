//! Board: what relay processes must know of each other at once, in memory that they share.
//! Owns its layout: open connections and waiting sessions by process, and since when a host is up again.
//! Must never be needed to be right for safety of memory: it holds numbers that any relay process could have written.
//!
//! Each process writes only its own cells; what counts is the sum. So a process that dies leaves nothing half done,
//! and clearing its cells gives back what it held.

use backends::sys::shared::{self, Words};
use conf::limits;
use conf::model::{HostId, TableId};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

const PROCESSES: usize = limits::PREFORK_MAX as usize;
const HOSTS: usize = limits::SHARED_HOSTS_MAX;
const TABLES: usize = limits::SHARED_TABLES_MAX;
/// Word 0: one more than the highest number of a process so far.
const CONNECTIONS: usize = 1;
/// By host: the second in which it came up again, plus one; 0 = it did not.
const RETURNS: usize = CONNECTIONS + PROCESSES * HOSTS;
/// By process and table: sessions that wait, and the stamp of the first of them.
const WAITING: usize = RETURNS + HOSTS;
const FIRST: usize = WAITING + PROCESSES * TABLES;
const SIZE: usize = FIRST + PROCESSES * TABLES;

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
}

impl Board {
    /// Makes the memory.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create() -> io::Result<OwnedFd> {
        shared::create(SIZE)
    }

    /// Maps it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn map(descriptor: BorrowedFd<'_>) -> io::Result<Board> {
        let words = Words::map(descriptor, SIZE)?;
        Ok(Board { words })
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
    pub fn wait(&self, number: u32, table: TableId, max: u32) -> Entry {
        match self.table_cell(WAITING, number as usize, table) {
            Some(own) => enter(own, max, || self.waiting(table)),
            None => Entry::Full,
        }
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

/// Only the owner and, after its end, the parent write to a cell; it must not wrap all the same.
fn down(own: &AtomicU32) {
    let _ = own.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1));
}

fn zero(cell: Option<&AtomicU32>) {
    // Reading first leaves pages alone that were never used.
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    const HOST: HostId = HostId(7);

    fn board() -> Board {
        Board::map(Board::create().unwrap().as_fd()).unwrap()
    }

    #[test]
    fn a_limit_holds_over_processes_and_the_dead_give_back() {
        let board = board();
        (0..3).for_each(|number| board.join(number));
        assert_eq!(board.connect(0, HOST, 2), Entry::Entered);
        assert_eq!(board.connect(2, HOST, 2), Entry::Entered);
        assert_eq!(board.connect(1, HOST, 2), Entry::Full);
        assert_eq!(board.connect(1, HostId(8), 2), Entry::Entered);
        assert_eq!(board.connections(HOST), 2);
        board.closed(0, HOST);
        assert_eq!(board.connect(1, HOST, 2), Entry::Entered);
        board.clear(2);
        assert_eq!(board.connections(HOST), 1);
        // A cell never goes below nothing, whoever miscounts.
        board.closed(2, HOST);
        assert_eq!(board.connections(HOST), 1);
    }

    #[test]
    fn a_queue_has_one_length_and_the_longest_wait_comes_first() {
        let board = board();
        let table = TableId(3);
        (0..3).for_each(|number| board.join(number));
        for (number, stamp) in [(2, u32::MAX - 5), (0, 4), (1, 4)] {
            assert_eq!(board.wait(number, table, 3), Entry::Entered);
            board.set_first(number, table, stamp);
        }
        assert_eq!(board.wait(1, table, 3), Entry::Full);
        assert_eq!(board.waiting(table), 3);
        // The stamps have wrapped between the first and the second.
        assert_eq!(board.longest(table, 10, 0), Some(2));
        assert_eq!(board.longest(table, 10, 0b100), Some(0));
        assert_eq!(board.longest(table, 10, 0b101), Some(1));
        board.clear(2);
        assert_eq!(board.longest(table, 10, 0), Some(0));
        board.waited(0, table);
        assert_eq!(board.longest(table, 10, 0), Some(1));
        assert_eq!(board.waiting(table), 1);
    }

    #[test]
    fn a_restarted_process_learns_when_a_host_returned() {
        let board = board();
        assert_eq!(board.returned_at(HOST), None);
        board.returned(HOST, 0);
        assert_eq!(board.returned_at(HOST), Some(0));
    }

    #[test]
    fn what_is_beyond_the_board_is_refused_and_harmless() {
        let board = board();
        let far = HostId(u32::MAX);
        board.join(u32::MAX);
        assert!(!board.covers(far));
        assert_eq!(board.connect(0, far, 9), Entry::Full);
        assert_eq!(board.connect(u32::MAX, HOST, 9), Entry::Full);
        board.connected(0, far);
        board.closed(u32::MAX, HOST);
        board.clear(u32::MAX);
        assert_eq!(board.connections(far), 0);
    }

    #[test]
    fn threads_never_exceed_the_limit() {
        const MAX: u32 = 3;
        let board = Arc::new(board());
        (0..4).for_each(|number| board.join(number));
        let held = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (board, held) = (Arc::clone(&board), Arc::clone(&held));
                std::thread::spawn(move || {
                    let mut entered = 0;
                    for _ in 0..20_000 {
                        if board.connect(number, HOST, MAX) == Entry::Entered {
                            assert!(held.fetch_add(1, SeqCst) < MAX);
                            entered += 1;
                            held.fetch_sub(1, SeqCst);
                            board.closed(number, HOST);
                        }
                    }
                    entered
                })
            })
            .collect();
        let entered: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
        assert!(entered > 0);
        assert_eq!(board.connections(HOST), 0);
    }
}
