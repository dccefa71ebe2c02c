//! Queue: sessions that wait because every host of their table is full.
//! Owns their order, first come first served over all relay processes, and the bounds of length and time.
//! Must never poll, nor look at all who wait: a place that becomes free wakes who waits longest for it, in whichever
//! process that is.
//!
//! A session is counted as waiting before it looks for a place once more, and who gives a place back looks for waiting
//! sessions afterwards; so one of the two sees the other, and no place stays free while somebody waits for it.

mod line;

pub use line::Spot;

use super::connect::{self, Choice, ConnectError, NoHost, Pick, Stage};
use super::context::Context;
use super::generation::Generation;
use super::relays::{Host, Table};
use super::session::Session;
use super::stream::Stream;
use crate::link::{Message, Peer, Role, To};
use backends::service;
use conf::model::{HostId, TableId};
use line::{Line, Waits, Want};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::sync::oneshot;

/// The waiting sessions of a process.
#[derive(Debug, Default)]
pub struct Queues {
    tables: RefCell<HashMap<TableId, Line<Waiting>>>,
    last: Cell<u64>,
}

/// A session that waits.
#[derive(Debug)]
struct Waiting {
    stamp: u32,
    session: Rc<Session>,
    choice: Choice,
    tried: Vec<HostId>,
    /// Index of the table in its relay.
    index: usize,
    table: Rc<Table>,
    /// The host that its client's cookie names, if it may be tried.
    wanted: Option<Rc<Host>>,
    place: oneshot::Sender<Result<Pick, NoHost>>,
}

impl Waits for Waiting {
    fn table(&self) -> usize {
        Rc::as_ptr(&self.table).addr()
    }

    fn want(&self) -> Want {
        match &self.wanted {
            Some(host) if host.serves() => Want::Host(host.parts.id),
            _ if self.tried.is_empty() => Want::Any,
            _ => Want::Not(self.tried.clone()),
        }
    }

    fn leaves(&self) -> bool {
        self.place.is_closed()
    }
}

/// A place in the queue, given up when dropped.
struct Ticket<'a> {
    context: &'a Context,
    table: TableId,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let (queues, seat) = (&self.context.queues, &self.context.seat);
        if queues
            .remove(self.context, self.table, self.number)
            .is_some()
        {
            // Others may have been passed over for it.
            seat.freed(self.table, Spot::Any);
        }
    }
}

/// Milliseconds of the system's monotonic clock, which may wrap.
fn stamp() -> u32 {
    (service::monotonic() / 1000) as u32
}

/// Waits for a place in table `index` of the session's relay.
///
/// # Errors
/// Why there is none; [`ConnectError::NoHost`] if meanwhile no host of the table is up.
pub async fn wait(
    context: &Context,
    session: &Rc<Session>,
    client: &Stream,
    choice: Choice,
    tried: &[HostId],
    index: usize,
) -> Result<Pick, ConnectError> {
    let used = session.relay.tables.get(index);
    let table = &used.ok_or(ConnectError::NoHost)?.table;
    let queue = table.queue.ok_or(ConnectError::NoHost)?;
    if !context.seat.wait(table.id, queue.length) {
        context.counters.queue_full.up();
        return Err(ConnectError::QueueFull);
    }
    context.counters.queued.up();
    let (place, given) = oneshot::channel();
    let mut tried = tried.to_vec();
    tried.sort_unstable();
    let wanted = choice.wanted.filter(|host| !tried.contains(host));
    let waiting = Waiting {
        stamp: stamp(),
        session: Rc::clone(session),
        choice,
        tried,
        index,
        table: Rc::clone(table),
        wanted: wanted.and_then(|host| table.host(host)).cloned(),
        place,
    };
    let _ticket = enter(context, waiting);
    tokio::select! {
        biased;
        place = given => match place {
            Ok(Ok(pick)) => Ok(pick),
            _ => Err(ConnectError::NoHost),
        },
        () = gone(client) => {
            context.counters.queue_left.up();
            Err(ConnectError::Gone)
        }
        () = tokio::time::sleep(queue.wait) => {
            context.counters.queue_timeouts.up();
            Err(ConnectError::QueueTimeout)
        }
    }
}

/// A session that was counted as waiting enters the queue; what is free already is looked at once more.
fn enter(context: &Context, waiting: Waiting) -> Ticket<'_> {
    let table = waiting.table.id;
    let spot = match waiting.want() {
        Want::Host(host) => Spot::Host(host),
        Want::Any | Want::Not(_) => Spot::Any,
    };
    let number = context.queues.push(context, waiting);
    context.seat.freed(table, spot);
    Ticket {
        context,
        table,
        number,
    }
}

/// Returns when the client has reset its connection. The end of what it sends does not say that it is gone: it may
/// still want its answer. If it is, the first bytes for it bring the reset; until then it waits no longer than others.
async fn gone(client: &Stream) {
    let _ = client.socket().ready(Interest::ERROR).await;
}

/// Gives places to waiting sessions whenever there may be some.
pub async fn run(context: Rc<Context>) {
    loop {
        let (table, spot) = context.seat.next_freed().await;
        context.queues.dispatch(&context, table, spot, 0);
    }
}

impl Queues {
    /// Sessions of this process that wait for a table.
    pub fn len(&self, table: TableId) -> usize {
        self.tables.borrow().get(&table).map_or(0, Line::len)
    }

    /// Answers the session's number.
    fn push(&self, context: &Context, waiting: Waiting) -> u64 {
        let number = self.last.get() + 1;
        self.last.set(number);
        let table = waiting.table.id;
        let mut tables = self.tables.borrow_mut();
        let line = tables.entry(table).or_default();
        if line.first().is_none() {
            context.seat.set_first(table, waiting.stamp);
        }
        line.push(number, waiting);
        number
    }

    /// Takes a session out; `None` if it is not in the queue any more.
    fn remove(&self, context: &Context, table: TableId, number: u64) -> Option<Waiting> {
        let mut tables = self.tables.borrow_mut();
        let line = tables.get_mut(&table)?;
        let waiting = line.remove(number)?;
        match line.first() {
            Some(first) => context.seat.set_first(table, first.stamp),
            None => {
                tables.remove(&table);
            }
        }
        context.seat.waited(table);
        Some(waiting)
    }

    /// Gives what is free at `spot` of a table to those who wait longest, here or in other processes; `passed` is the
    /// set of processes whose sessions had no use for it.
    pub fn dispatch(&self, context: &Context, table: TableId, spot: Spot, mut passed: u64) {
        if spot == Spot::All {
            // A host may serve no longer. Even if there is no room now, who waits for it must be found by the room at
            // others that comes later.
            self.release(table);
        }
        let me = context.seat.number();
        let now = context.generation();
        while let Some(process) = context.seat.longest(table, stamp(), passed) {
            if full(&now, table, spot) {
                return;
            }
            if process == me {
                if !self.serve(context, table, spot) {
                    passed |= 1_u64.checked_shl(me).unwrap_or(0);
                }
                continue;
            }
            let to = To::One(Peer {
                role: Role::Relay,
                instance: process,
            });
            let message = Message::Freed {
                table: Some(table),
                host: match spot {
                    Spot::Host(host) => Some(host),
                    Spot::Any | Spot::All => None,
                },
                passed,
            };
            tell(context, to, message);
            return;
        }
    }

    /// The same for every table that somebody here waits for.
    pub fn dispatch_all(&self, context: &Context) {
        let tables: Vec<TableId> = self.tables.borrow().keys().copied().collect();
        for table in tables {
            self.dispatch(context, table, Spot::All, 0);
        }
    }

    /// Each process hears of a host's change, so each looks after its own sessions.
    fn release(&self, table: TableId) {
        if let Some(line) = self.tables.borrow_mut().get_mut(&table) {
            line.release();
        }
    }

    /// Lets the first session go that can; answers whether one could.
    fn serve(&self, context: &Context, table: TableId, spot: Spot) -> bool {
        let take = |waiting: &Waiting| {
            let relay = &waiting.session.relay;
            let stage = Stage::Waited(waiting.index);
            match connect::choose_at(context, relay, &waiting.choice, &waiting.tried, stage) {
                Err(NoHost::Full(_)) => None,
                result => Some(result),
            }
        };
        let served = match self.tables.borrow_mut().get_mut(&table) {
            Some(line) => line.offer(spot, take),
            None => None,
        };
        let Some((number, result)) = served else {
            return false;
        };
        if let Some(waiting) = self.remove(context, table, number) {
            // If it has just gone, its place comes back at once.
            let _ = waiting.place.send(result);
        }
        true
    }
}

/// Whether there is nothing to give, although hosts are up.
fn full(now: &Generation, table: TableId, spot: Spot) -> bool {
    match spot {
        Spot::Host(host) => now.host(host).is_some_and(|host| !host.usable()),
        Spot::Any | Spot::All => {
            let table = now.table_by_id(table);
            table.is_some_and(|table| table.serves() && !table.usable())
        }
    }
}

/// Sends what must arrive.
fn tell(context: &Context, to: To, message: Message) {
    if context.link.try_send(to, message.clone()).is_err() {
        let link = context.link.clone();
        actix::spawn(async move {
            // The main loop notices that the parent is gone.
            let _ = link.tell(to, message).await;
        });
    }
}
