//! The sessions that run in a relay process.
//! Owns their list, their numbers and the timers: one array of seconds, looked through once a second.
//! Must never end a session itself: it tells the session's actor.

use super::clients::Place;
use super::session::Session;
use super::session_actor::{End, SessionActor};
use crate::link::SessionInfo;
use actix::Addr;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A running session and its actor.
#[derive(Debug)]
struct Entry {
    session: Rc<Session>,
    actor: Addr<SessionActor>,
    /// Its place in the counts by relay and client.
    _place: Place,
}

/// All sessions of a process.
#[derive(Debug, Default)]
pub struct Registry {
    entries: RefCell<Slab<Entry>>,
    /// For each place in the list the second in which its session is looked at. 4 bytes a session read in order are
    /// cheaper than any queue: 100,000 sessions take a few microseconds a second, and ended ones leave nothing behind.
    due: RefCell<Vec<u32>>,
    last: Cell<u64>,
}

impl Registry {
    /// Number of running sessions.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of the next session.
    pub(super) fn number(&self) -> u64 {
        let id = self.last.get() + 1;
        self.last.set(id);
        id
    }

    /// A session begins; `actor` ends it.
    pub(super) fn insert(&self, session: &Rc<Session>, actor: Addr<SessionActor>, place: Place) {
        let key = self.entries.borrow_mut().insert(Entry {
            session: Rc::clone(session),
            actor,
            _place: place,
        });
        session.key.set(Some(key));
        let mut due = self.due.borrow_mut();
        if due.len() <= key {
            due.resize(key + 1, u32::MAX);
        }
        if let Some(due) = due.get_mut(key) {
            *due = session.due();
        }
    }

    /// A session ended.
    pub(super) fn remove(&self, session: &Session) {
        let Some(key) = session.key.take() else {
            return;
        };
        let mut entries = self.entries.borrow_mut();
        entries.try_remove(key);
        let mut due = self.due.borrow_mut();
        if let Some(due) = due.get_mut(key) {
            *due = u32::MAX;
        }
        if entries.is_empty() {
            // Memory of a burst is given back.
            *entries = Slab::new();
            *due = Vec::new();
        }
    }

    /// A session's deadline changed.
    pub(super) fn requeue(&self, session: &Session) {
        if let Some(key) = session.key.get()
            && let Some(due) = self.due.borrow_mut().get_mut(key)
        {
            *due = session.due();
        }
    }

    /// Looks at the sessions that are due at second `now`; ends those that must end. Answers how many.
    pub(super) fn tick(&self, now: u32) -> u64 {
        let mut ended = 0;
        let entries = self.entries.borrow();
        for (key, due) in self.due.borrow_mut().iter_mut().enumerate() {
            if *due > now {
                continue;
            }
            *due = u32::MAX;
            let Some(entry) = entries.get(key) else {
                continue;
            };
            match entry.session.expire(now) {
                Some(reason) => {
                    ended += 1;
                    entry.actor.do_send(End { reason });
                }
                None => *due = entry.session.due(),
            }
        }
        ended
    }

    /// Ends the session with this number, if it runs.
    pub(super) fn kill(&self, id: u64, reason: &'static str) -> bool {
        let entries = self.entries.borrow();
        let found = entries.iter().find(|(_, e)| e.session.id == id);
        if let Some((_, entry)) = found {
            entry.actor.do_send(End { reason });
        }
        found.is_some()
    }

    /// Calls `act` for every running session.
    pub(super) fn each(&self, mut act: impl FnMut(&Rc<Session>)) {
        let sessions: Vec<_> = self
            .entries
            .borrow()
            .iter()
            .map(|(_, e)| Rc::clone(&e.session))
            .collect();
        sessions.iter().for_each(&mut act);
    }

    /// Ends the sessions that `doomed` accepts.
    pub(super) fn kill_where(&self, reason: &'static str, doomed: impl Fn(&Session) -> bool) {
        for (_, entry) in self.entries.borrow().iter() {
            if doomed(&entry.session) {
                entry.actor.do_send(End { reason });
            }
        }
    }

    /// Ends every session.
    pub(super) fn kill_all(&self, reason: &'static str) {
        for (_, entry) in self.entries.borrow().iter() {
            entry.actor.do_send(End { reason });
        }
    }

    /// The sessions for `relayctl show sessions`, in the order of their numbers.
    pub(super) fn list(&self, context: &super::context::Context) -> Vec<SessionInfo> {
        let clock = &context.clock;
        let pid = std::process::id();
        let mut list: Vec<_> = self
            .entries
            .borrow()
            .iter()
            .filter(|(_, e)| e.session.relay.redirect.is_none())
            .map(|(_, e)| SessionInfo {
                id: e.session.id,
                relay: e.session.relay.config.id,
                client: e.session.client,
                server: e.session.server(),
                age: clock.since(e.session.started),
                idle: clock.since(e.session.last_activity()),
                tag: e.session.tag_number.get(),
                done: e.session.done.get(),
                pid,
                process: context.process,
                requests: e.session.requests.get(),
            })
            .collect();
        list.sort_unstable_by_key(|s| s.id);
        list
    }
}
