//! Idle server connections, shared by the sessions of a process.
//! Owns them from the end of one exchange to the start of the next, and closes what grows old.
//! Must never hand out a connection on which the server has said anything since.

use super::super::context::Context;
use super::super::stream::Stream;
use conf::limits;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since: u32,
}

/// The idle connections of a process.
#[derive(Debug, Default)]
pub(super) struct Pool {
    by_server: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
    count: Cell<usize>,
    swept: Cell<bool>,
}

/// The server said or ended something while nobody asked.
pub(super) fn stale(stream: &Stream) -> bool {
    let mut task = Task::from_waker(Waker::noop());
    !matches!(stream.socket().poll_read_ready(&mut task), Poll::Pending)
}

impl Pool {
    /// Number of idle connections.
    pub(super) fn len(&self) -> usize {
        self.count.get()
    }

    /// A connection to a server, the one used last.
    pub(super) fn take(&self, server: SocketAddr) -> Option<Stream> {
        let mut all = self.by_server.borrow_mut();
        let idle = all.get_mut(&server)?;
        while let Some(last) = idle.pop() {
            self.count.set(self.count.get().saturating_sub(1));
            if !stale(&last.stream) {
                return Some(last.stream);
            }
        }
        None
    }

    /// Keeps a connection for others.
    pub(super) fn put(&self, context: &Rc<Context>, server: SocketAddr, stream: Stream) {
        if self.count.get() >= limits::HTTP_POOL_MAX || stale(&stream) {
            return;
        }
        let mut all = self.by_server.borrow_mut();
        let idle = all.entry(server).or_default();
        if idle.len() >= limits::HTTP_POOL_HOST_MAX {
            return;
        }
        idle.push(Idle {
            stream,
            since: context.clock.seconds(),
        });
        self.count.set(self.count.get() + 1);
        if !self.swept.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(context)));
        }
    }

    /// Closes what is too old or was closed by its server; false when nothing is left.
    fn clean(&self, now: u32) -> bool {
        let oldest = now.saturating_sub(limits::HTTP_POOL_IDLE.as_secs() as u32);
        let mut all = self.by_server.borrow_mut();
        for idle in all.values_mut() {
            idle.retain(|one| one.since >= oldest && !stale(&one.stream));
        }
        all.retain(|_, idle| !idle.is_empty());
        self.count.set(all.values().map(Vec::len).sum());
        let left = self.count.get() > 0;
        self.swept.set(left);
        left
    }
}

/// Looks at the pool once a second while there is something in it.
async fn sweep(context: Weak<Context>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(context) = context.upgrade() else {
            return;
        };
        if !context.http.pool.clean(context.clock.seconds()) {
            return;
        }
    }
}
