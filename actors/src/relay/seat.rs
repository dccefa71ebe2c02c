//! Seat: this process's place among the relay processes.
//! Owns the way to the shared board, the counting of connections, sessions and waiting sessions where there is none,
//! and the tables that sessions wait for and that have room again.
//! Must never let a limit be exceeded because processes do not see each other: without a board each has its part.

use super::queue::Spot;
use crate::board::{Board, Counted, Entry};
use conf::limits;
use conf::model::{HostId, RelayId, TableId};
use protocols::balance;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub struct Seat {
    /// Number of this process, from 0.
    number: u32,
    processes: Cell<u32>,
    board: RefCell<Option<Board>>,
    /// Waiting sessions of this process by table, where the board does not count them.
    alone: RefCell<HashMap<TableId, u32>>,
    unseen: Cell<u64>,
    freed: RefCell<BTreeSet<(TableId, Spot)>>,
    news: Notify,
}

impl Default for Seat {
    fn default() -> Self {
        Seat::new(0)
    }
}

impl Seat {
    /// The seat of process `number`, which counts alone until it gets a board.
    pub fn new(number: u32) -> Seat {
        Seat {
            number,
            processes: Cell::new(1),
            board: RefCell::default(),
            alone: RefCell::default(),
            unseen: Cell::new(0),
            freed: RefCell::default(),
            news: Notify::new(),
        }
    }

    /// Number of this process, from 0.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The board came.
    pub fn take(&self, board: Board) {
        board.join(self.number);
        self.board.replace(Some(board));
    }

    /// The configuration has `processes` relay processes.
    pub fn set_processes(&self, processes: u32) {
        self.processes.set(processes.clamp(1, limits::PREFORK_MAX));
    }

    /// Open connections to a host: of all processes, or those of this one, which has `own`.
    pub(super) fn connections(&self, host: HostId, own: u32) -> u32 {
        match &*self.board.borrow() {
            Some(board) if board.covers(host) => board.connections(host),
            _ => own,
        }
    }

    /// What [`Seat::connections`] must stay below for another one.
    pub(super) fn limit(&self, host: HostId, max: u32) -> u32 {
        match &*self.board.borrow() {
            Some(board) if board.covers(host) => max,
            Some(_) => balance::part(max, self.processes.get(), self.number),
            None => max,
        }
    }

    /// Wants one more connection; of this process `own` are open.
    pub(super) fn connect(&self, host: HostId, own: u32, max: Option<u32>) -> Entry {
        match (&*self.board.borrow(), max) {
            (Some(board), Some(max)) if board.covers(host) => board.connect(self.number, host, max),
            (Some(board), None) => {
                board.connected(self.number, host);
                Entry::Entered
            }
            (_, Some(max)) if own >= self.limit(host, max) => Entry::Full,
            _ => Entry::Entered,
        }
    }

    /// One less.
    pub(super) fn closed(&self, host: HostId) {
        if let Some(board) = &*self.board.borrow() {
            board.closed(self.number, host);
        }
    }

    /// Wants to begin one more session of a relay; this process has `own` of them.
    pub(super) fn begin(&self, relay: RelayId, own: u32, max: Option<u32>) -> bool {
        match &*self.board.borrow() {
            Some(board) if board.covers_relay(relay) => board.begin(self.number, relay, max),
            _ => max.is_none_or(|max| own < balance::part(max, self.processes.get(), self.number)),
        }
    }

    /// It ended.
    pub(super) fn ended(&self, relay: RelayId) {
        if let Some(board) = &*self.board.borrow() {
            board.ended(self.number, relay);
        }
    }

    /// Counts one more session of a client that may have at most `max`, where all processes see it, or says that none
    /// does.
    pub(super) fn count_client(&self, relay: RelayId, client: IpAddr, max: u32) -> Counted {
        let board = self.board.borrow();
        let Some(board) = &*board else {
            return Counted::Unseen;
        };
        let counted = board.count_client(self.number, board.client(relay, client), max);
        if counted == Counted::Unseen {
            self.unseen.set(self.unseen.get().wrapping_add(1));
        }
        counted
    }

    /// Sessions so far whose client, though limited, only this process counted.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen.get()
    }

    /// It ended, and was counted at this place.
    pub(super) fn uncount_client(&self, place: u32) {
        if let Some(board) = &*self.board.borrow() {
            board.uncount_client(self.number, place);
        }
    }

    /// A host came up again in this second of the system's monotonic clock.
    pub(super) fn returned(&self, host: HostId, second: u32) {
        if let Some(board) = &*self.board.borrow() {
            board.returned(host, second);
        }
    }

    /// The second in which a host came up again last.
    pub(super) fn returned_at(&self, host: HostId) -> Option<u32> {
        self.board.borrow().as_ref()?.returned_at(host)
    }

    /// Sessions that wait for a table: of all processes, or of this one.
    pub fn waiting(&self, table: TableId) -> u32 {
        match &*self.board.borrow() {
            Some(board) if board.covers_table(table) => board.waiting(table),
            _ => self.alone.borrow().get(&table).copied().unwrap_or(0),
        }
    }

    /// A session wants to wait where at most `max` may.
    pub(super) fn wait(&self, table: TableId, max: u32) -> bool {
        match &*self.board.borrow() {
            Some(board) if board.covers_table(table) => board.wait(self.number, table, max),
            _ => {
                let mut alone = self.alone.borrow_mut();
                let waiting = alone.entry(table).or_default();
                let entered = *waiting < max;
                *waiting += u32::from(entered);
                entered
            }
        }
    }

    /// It waits no more.
    pub(super) fn waited(&self, table: TableId) {
        match &*self.board.borrow() {
            Some(board) if board.covers_table(table) => board.waited(self.number, table),
            _ => {
                let mut alone = self.alone.borrow_mut();
                if let Some(waiting) = alone.get_mut(&table) {
                    *waiting = waiting.saturating_sub(1);
                }
            }
        }
    }

    /// Stamp of the first session of this process that waits.
    pub(super) fn set_first(&self, table: TableId, stamp: u32) {
        if let Some(board) = &*self.board.borrow() {
            board.set_first(self.number, table, stamp);
        }
    }

    /// The process whose first session has waited longest; those in the set `without` are passed over.
    pub(super) fn longest(&self, table: TableId, now: u32, without: u64) -> Option<u32> {
        match &*self.board.borrow() {
            Some(board) if board.covers_table(table) => board.longest(table, now, without),
            _ => {
                let mine = self.alone.borrow().get(&table).is_some_and(|n| *n > 0);
                let passed = without.checked_shr(self.number).unwrap_or(1) & 1 == 1;
                (mine && !passed).then_some(self.number)
            }
        }
    }

    /// A table may have room again: who waits for it is looked at.
    pub(super) fn freed(&self, table: TableId, spot: Spot) {
        if self.waiting(table) > 0 {
            self.freed.borrow_mut().insert((table, spot));
            self.news.notify_one();
        }
    }

    /// Waits until a table may have room again.
    pub(super) async fn next_freed(&self) -> (TableId, Spot) {
        loop {
            let first = self.freed.borrow_mut().pop_first();
            match first {
                Some(freed) => return freed,
                None => self.news.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn hosts_beyond_the_board_have_their_limit_divided() {
        let fd = Board::create().unwrap();
        let (near, far) = (HostId(1), HostId(u32::MAX));
        let seats: Vec<_> = (0..3)
            .map(|number| {
                let seat = Seat::new(number);
                seat.take(Board::map(fd.as_fd()).unwrap());
                seat.set_processes(3);
                seat
            })
            .collect();
        let limits: Vec<_> = seats.iter().map(|seat| seat.limit(far, 4)).collect();
        assert_eq!(limits, [2, 1, 1]);
        assert_eq!(seats.first().unwrap().limit(near, 4), 4);
        let one = seats.first().unwrap();
        assert_eq!(one.connect(far, 1, Some(4)), Entry::Entered);
        assert_eq!(one.connect(far, 2, Some(4)), Entry::Full);
        assert_eq!(one.connect(near, 0, Some(1)), Entry::Entered);
        let two = seats.get(1).unwrap();
        assert_eq!(two.connect(near, 0, Some(1)), Entry::Full);
        assert_eq!(two.connections(near, 0), 1);
        one.closed(near);
        assert_eq!(two.connect(near, 0, Some(1)), Entry::Entered);
    }
}
