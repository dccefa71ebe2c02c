//! Queue: sessions that wait because every host of their table is full.
//! Owns their order, first come first served over all relay processes, and the bounds of length and time.
//! Must never poll: a place that becomes free wakes who waits longest, in whichever process that is.
//!
//! A session is counted as waiting before it looks for a place once more, and who gives a place back looks for waiting
//! sessions afterwards; so one of the two sees the other, and no place stays free while somebody waits for it.

use super::connect::{self, Choice, ConnectError, NoHost, Pick, Stage};
use super::context::Context;
use super::session::Session;
use super::stream::Stream;
use crate::link::{Message, Peer, Role, To};
use backends::service;
use conf::model::{HostId, TableId};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use tokio::io::Interest;
use tokio::sync::oneshot;

/// The waiting sessions of a process.
#[derive(Debug, Default)]
pub struct Queues {
    tables: RefCell<HashMap<TableId, VecDeque<Waiting>>>,
    last: Cell<u64>,
}

/// A session that waits.
#[derive(Debug)]
struct Waiting {
    number: u64,
    stamp: u32,
    session: Rc<Session>,
    choice: Choice,
    tried: Vec<HostId>,
    /// Index of the table in its relay.
    index: usize,
    place: oneshot::Sender<Result<Pick, NoHost>>,
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
        queues.remove(self.context, self.table, self.number);
        // It may have been woken for a place that the next one can have.
        seat.freed(self.table);
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
    let table = used.ok_or(ConnectError::NoHost)?.table.as_ref();
    let queue = table.queue.ok_or(ConnectError::NoHost)?;
    if !context.seat.wait(table.id, queue.length) {
        context.counters.queue_full.up();
        return Err(ConnectError::QueueFull);
    }
    context.counters.queued.up();
    let number = context.queues.last.get() + 1;
    context.queues.last.set(number);
    let _ticket = Ticket {
        context,
        table: table.id,
        number,
    };
    let (place, given) = oneshot::channel();
    let waiting = Waiting {
        number,
        stamp: stamp(),
        session: Rc::clone(session),
        choice,
        tried: tried.to_vec(),
        index,
        place,
    };
    context.queues.push(context, table.id, waiting);
    context.seat.freed(table.id);
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

/// Returns when the client has reset its connection. The end of what it sends does not say that it is gone: it may
/// still want its answer. If it is, the first bytes for it bring the reset; until then it waits no longer than others.
async fn gone(client: &Stream) {
    let _ = client.socket().ready(Interest::ERROR).await;
}

/// Gives places to waiting sessions whenever there may be some.
pub async fn run(context: Rc<Context>) {
    loop {
        let table = context.seat.next_freed().await;
        context.queues.dispatch(&context, table, 0);
    }
}

impl Queues {
    /// Sessions of this process that wait for a table.
    pub fn len(&self, table: TableId) -> usize {
        self.tables.borrow().get(&table).map_or(0, VecDeque::len)
    }

    fn push(&self, context: &Context, table: TableId, waiting: Waiting) {
        let mut tables = self.tables.borrow_mut();
        let queue = tables.entry(table).or_default();
        if queue.is_empty() {
            context.seat.set_first(table, waiting.stamp);
        }
        queue.push_back(waiting);
    }

    /// Takes a session out; `None` if it is not in the queue any more.
    fn remove(&self, context: &Context, table: TableId, number: u64) -> Option<Waiting> {
        let mut tables = self.tables.borrow_mut();
        let queue = tables.get_mut(&table)?;
        let at = queue.binary_search_by_key(&number, |w| w.number).ok()?;
        let waiting = queue.remove(at);
        match queue.front() {
            Some(first) => context.seat.set_first(table, first.stamp),
            None => {
                tables.remove(&table);
            }
        }
        context.seat.waited(table);
        waiting
    }

    /// Gives the free places of a table to those who wait longest, here or in other processes; `passed` is the set of
    /// processes whose sessions had no use for them.
    pub fn dispatch(&self, context: &Context, table: TableId, mut passed: u64) {
        let me = context.seat.number();
        let now = context.generation().table_by_id(table).cloned();
        while let Some(process) = context.seat.longest(table, stamp(), passed) {
            if now.as_ref().is_some_and(|t| t.serves() && !t.usable()) {
                return;
            }
            if process == me {
                if !self.serve(context, table) {
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
            self.dispatch(context, table, 0);
        }
    }

    /// Lets the first session go that can; answers whether one could.
    fn serve(&self, context: &Context, table: TableId) -> bool {
        let served = self.tables.borrow().get(&table).and_then(|queue| {
            queue.iter().find_map(|waiting| {
                if waiting.place.is_closed() {
                    return None;
                }
                let relay = &waiting.session.relay;
                let stage = Stage::Waited(waiting.index);
                let tried = &waiting.tried;
                match connect::choose_at(context, relay, &waiting.choice, tried, stage) {
                    Err(NoHost::Full(_)) => None,
                    result => Some((waiting.number, result)),
                }
            })
        });
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
