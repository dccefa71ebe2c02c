//! What is known of one session: who talks to whom, since when, and what its log line will say.
//! Owns the record that registry, timers, statistics and log read while the byte loop runs.
//! Must never hold bytes of the session.

use super::access;
use super::context::Context;
use super::relays::{Host, Relay};
use conf::model::{ProtocolKind, Target};
use protocols::log::id::{RequestId, SessionId};
use protocols::log::session as words;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Reason in the log line.
    pub reason: Cow<'static, str>,
    /// Whether `log connection errors` prints it (as a warning).
    pub error: bool,
}

impl Ended {
    /// In order: `done`.
    pub fn done() -> Self {
        Self::closed(words::DONE)
    }

    /// Not an error in the sense of `log connection errors`, whatever the reason.
    pub fn closed(reason: impl Into<Cow<'static, str>>) -> Self {
        Ended {
            reason: reason.into(),
            error: false,
        }
    }

    /// An error.
    pub fn failed(reason: impl Into<Cow<'static, str>>) -> Self {
        Ended {
            reason: reason.into(),
            error: true,
        }
    }
}

/// Direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From the client to the server.
    Client,
    /// From the server to the client.
    Server,
}

/// One direction of a session.
#[derive(Debug, Default)]
struct Way {
    /// Second of the last byte.
    active: Cell<u32>,
    /// Bytes so far.
    bytes: Cell<u64>,
    /// Bytes wait because the receiver does not take them.
    blocked: Cell<bool>,
}

/// Points in time of a session, for an access log.
#[derive(Debug)]
pub struct Stamps {
    /// It began.
    pub began: Instant,
    /// The same by the calendar, since 1970.
    pub wall: Duration,
    /// It was connected to its server.
    pub connect: Cell<Option<Instant>>,
    /// The server's first byte came.
    pub first: Cell<Option<Instant>>,
}

impl Stamps {
    /// A session that began at `began`.
    pub fn new(began: Instant) -> Box<Self> {
        Box::new(Stamps {
            wall: access::wall_clock().saturating_sub(began.elapsed()),
            began,
            connect: Cell::new(None),
            first: Cell::new(None),
        })
    }
}

/// A session's record.
#[derive(Debug)]
pub struct Session {
    /// Number in this process, from 1.
    pub id: u64,
    /// The relay as it was when the session began.
    pub relay: Rc<Relay>,
    /// Client, or who a PROXY header says it is.
    pub client: SocketAddr,
    /// Second it began.
    pub started: u32,
    server: Cell<Option<SocketAddr>>,
    host: RefCell<Option<Rc<Host>>>,
    ways: [Way; 2],
    deadline: Cell<u32>,
    drain: Cell<u32>,
    waker: RefCell<Option<Waker>>,
    /// Place in the registry.
    pub(super) key: Cell<Option<usize>>,
    /// The session is ending.
    pub done: Cell<bool>,
    /// Tag set by rules.
    pub tag: RefCell<Option<Rc<str>>>,
    /// Its number in the protocol; 0 = none.
    pub tag_number: Cell<u16>,
    /// Label set by rules.
    pub label: RefCell<Option<Rc<str>>>,
    /// Items of `log` actions for the session's line; each begins with a blank.
    pub log: RefCell<String>,
    /// Requests so far.
    pub requests: Cell<u32>,
    /// Why it was ended from outside.
    pub(super) killed: Cell<Option<&'static str>>,
    /// Points in time, where an access log wants them: requests have their own.
    pub stamps: Option<Box<Stamps>>,
}

impl Session {
    /// A session that begins at second `now`.
    pub fn new(id: u64, relay: Rc<Relay>, client: SocketAddr, now: u32) -> Self {
        let sessions_logged =
            relay.config.access.is_some() && relay.protocol.kind != ProtocolKind::Http;
        let session = Session {
            id,
            relay,
            client,
            started: now,
            server: Cell::new(None),
            host: RefCell::default(),
            ways: [Way::default(), Way::default()],
            deadline: Cell::new(u32::MAX),
            drain: Cell::new(u32::MAX),
            waker: RefCell::default(),
            key: Cell::new(None),
            done: Cell::new(false),
            tag: RefCell::default(),
            tag_number: Cell::new(0),
            label: RefCell::default(),
            log: RefCell::default(),
            requests: Cell::new(0),
            killed: Cell::new(None),
            stamps: sessions_logged.then(|| Stamps::new(Instant::now())),
        };
        session.touch(From::Client, now);
        session.touch(From::Server, now);
        session
    }

    fn way(&self, from: From) -> &Way {
        let [client, server] = &self.ways;
        match from {
            From::Client => client,
            From::Server => server,
        }
    }

    /// Bytes moved in a direction at second `now` ([`super::context::Clock::seconds`]).
    pub fn touch(&self, from: From, now: u32) {
        self.way(from).active.set(now);
    }

    /// The same, with their number.
    pub fn moved(&self, from: From, now: u32, count: usize) {
        let way = self.way(from);
        way.active.set(now);
        let before = way.bytes.get();
        way.bytes.set(before.wrapping_add(count as u64));
        if before == 0
            && from == From::Server
            && let Some(stamps) = &self.stamps
        {
            stamps.first.set(Some(Instant::now()));
        }
    }

    /// Bytes of a direction so far.
    pub fn bytes(&self, from: From) -> u64 {
        self.way(from).bytes.get()
    }

    /// It is connected to its server.
    pub fn connected(&self) {
        if let Some(stamps) = &self.stamps {
            stamps.connect.set(Some(Instant::now()));
        }
    }

    /// Its name over all processes.
    pub fn name(&self, context: &Context) -> SessionId {
        SessionId {
            process: context.process,
            number: self.id,
        }
    }

    /// A request begins; answers its name.
    pub fn next_request(&self, context: &Context) -> RequestId {
        let number = self.requests.get().wrapping_add(1);
        self.requests.set(number);
        RequestId {
            session: self.name(context),
            number,
        }
    }

    /// Whether bytes of a direction wait because the receiver does not take them: then the timeout runs for it alone.
    pub fn blocked(&self, from: From, blocked: bool) {
        self.way(from).blocked.set(blocked);
    }

    /// The server, once chosen.
    pub fn server(&self) -> Option<SocketAddr> {
        self.server.get()
    }

    /// Notes the server, and the host it is if it is one.
    pub fn set_server(&self, server: SocketAddr, host: Option<Rc<Host>>) {
        self.server.set(Some(server));
        self.host.replace(host);
    }

    /// The host, once chosen.
    pub fn host(&self) -> Option<Rc<Host>> {
        self.host.borrow().clone()
    }

    /// Second of the last byte in any direction.
    pub fn last_activity(&self) -> u32 {
        let [client, server] = &self.ways;
        client.active.get().max(server.active.get())
    }

    /// Second after which the session timeout has passed.
    pub(super) fn idle_due(&self) -> u32 {
        let timeout = seconds(self.relay.config.session_timeout);
        let stalled = self
            .ways
            .iter()
            .filter(|w| w.blocked.get())
            .map(|w| w.active.get())
            .min();
        // A byte may have come at the very end of its second: never early, at most a second late.
        stalled
            .unwrap_or_else(|| self.last_activity())
            .saturating_add(timeout)
            .saturating_add(1)
    }

    /// Sets or clears a point in time that [`Session::deadline`] waits for; a second coarse, never early.
    pub fn set_deadline(self: &Rc<Self>, context: &Context, after: Option<Duration>) {
        let due = after.map_or(u32::MAX, |after| {
            context
                .clock
                .seconds()
                .saturating_add(seconds(after))
                .saturating_add(1)
        });
        if self.deadline.replace(due) != due {
            context.sessions.requeue(self);
        }
    }

    /// Waits for the deadline; for ever while none is set.
    pub async fn deadline(&self) {
        poll_fn(|cx| self.poll_deadline(cx)).await;
    }

    /// Whether the deadline has passed.
    pub fn poll_deadline(&self, cx: &Task<'_>) -> Poll<()> {
        if self.deadline.get() == 0 {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The session may go on at most this long: its configuration is gone.
    pub(super) fn drain(self: &Rc<Self>, context: &Context, after: Duration) {
        let due = context.clock.seconds().saturating_add(seconds(after));
        self.drain.set(self.drain.get().min(due));
        context.sessions.requeue(self);
    }

    /// Second in which the registry must look at it.
    pub(super) fn due(&self) -> u32 {
        self.idle_due()
            .min(self.deadline.get().max(1))
            .min(self.drain.get())
    }

    /// What is due at second `now`: wakes the waiter of the deadline, answers why the session must end.
    pub(super) fn expire(&self, now: u32) -> Option<&'static str> {
        if self.deadline.get() != 0 && self.deadline.get() <= now {
            self.deadline.set(0);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        if self.drain.get() <= now {
            return Some(words::HARD_TIMEOUT);
        }
        (self.idle_due() <= now).then_some(words::TIMEOUT)
    }

    /// Logs the session's end if the configuration asks for it.
    pub(super) fn report(&self, context: &Context, ended: &Ended) {
        if self.stamps.is_some() {
            access::session(context, self, &ended.reason);
        }
        let log = self.relay.log;
        let id = self.name(context);
        if ended.error && (log.connection || log.connection_errors) {
            tracing::warn!(session = %id, "{}", self.line(context, ended));
        } else if !ended.error && log.connection {
            tracing::info!(session = %id, "{}", self.line(context, ended));
        }
    }

    /// The session's log line. With an access log it has the name that the lines there have.
    fn line(&self, context: &Context, ended: &Ended) -> String {
        let port = match self.relay.config.target {
            Target::Address { port, .. } => port,
            _ => 0,
        };
        let items = self.log.borrow();
        let items: Cow<'_, str> = match self.relay.config.access {
            Some(_) => Cow::Owned(format!(" [id: {}]{items}", self.name(context))),
            None => Cow::Borrowed(&items),
        };
        words::SessionLine {
            relay: &self.relay.config.name,
            session: self.id,
            active: context.sessions.len(),
            tag: self.tag.borrow().as_deref(),
            client: self.client.ip(),
            server: self.server(),
            port,
            reason: &ended.reason,
            items: &items,
        }
        .to_string()
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u32 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX)
}
