//! Idle server connections, shared by the sessions of a process.
//! Owns them from the end of one exchange to the start of the next, and closes what grows old.
//! Must never hand out a connection on which the server has said anything since.

use super::super::context::Context;
use super::super::stream::Stream;
use conf::limits;
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::io::Interest;

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since: u32,
}

/// The idle connections of a process.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Looked up twice per request, by addresses nobody outside chooses: a quick hash does.
    by_server: RefCell<HashMap<SocketAddr, Vec<Idle>, BuildHasherDefault<Quick>>>,
    count: Cell<usize>,
    swept: Cell<bool>,
}

/// A hash without defence against chosen keys.
#[derive(Debug, Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        // The map takes its bits from both ends.
        let mixed = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (mixed ^ (mixed >> 64)) as u64;
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

/// The server said or ended something while nobody asked.
pub(super) fn stale(stream: &Stream) -> bool {
    let socket = stream.socket();
    // After a splice the event loop still takes the socket for readable: then the kernel is asked, else nobody.
    let seen = socket.try_io(Interest::READABLE, || {
        SockRef::from(socket).peek(&mut [MaybeUninit::uninit()])
    });
    !matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
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
        if stale(&stream) {
            return;
        }
        if self.count.get() >= limits::HTTP_POOL_MAX {
            context.counters.pool_full.up();
            return;
        }
        let mut all = self.by_server.borrow_mut();
        let idle = all.entry(server).or_default();
        if idle.len() >= limits::HTTP_POOL_HOST_MAX {
            context.counters.pool_full.up();
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
