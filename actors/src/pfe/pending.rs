//! Questions of control clients that other processes answer: sessions, verdicts of reloads.
//! Owns the questions that are open.
//! Must never keep one open for ever: the asker bounds the wait and takes what is there.

use crate::link::{Peer, SessionInfo};
use conf::limits;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// Sessions with the process that has them.
pub type Found = Vec<(Peer, SessionInfo)>;

/// How a reload ended.
#[derive(Debug)]
pub struct Verdict {
    /// Configuration that runs now.
    pub generation: u64,
    /// Messages of a refused reload.
    pub errors: Vec<String>,
}

#[derive(Debug)]
struct List {
    waiting: BTreeSet<Peer>,
    found: Found,
    answer: oneshot::Sender<Found>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pending {
    next: u64,
    lists: BTreeMap<u64, List>,
    verdicts: BTreeMap<u64, oneshot::Sender<Verdict>>,
}

impl Pending {
    /// Opens a question for the sessions of `peers`: its number for the link, and where the answer comes.
    pub fn list(&mut self, peers: BTreeSet<Peer>) -> (u64, oneshot::Receiver<Found>) {
        let (answer, receiver) = oneshot::channel();
        self.next += 1;
        self.lists.insert(
            self.next,
            List {
                waiting: peers,
                found: Vec::new(),
                answer,
            },
        );
        (self.next, receiver)
    }

    /// Some sessions came.
    pub fn sessions(&mut self, from: Peer, request: u64, sessions: Vec<SessionInfo>, last: bool) {
        let Some(list) = self.lists.get_mut(&request) else {
            return;
        };
        let room = limits::SESSIONS_SHOWN_MAX.saturating_sub(list.found.len());
        let some = sessions.into_iter().take(room);
        list.found.extend(some.map(|s| (from, s)));
        if last {
            list.waiting.remove(&from);
        }
        if list.waiting.is_empty() {
            self.conclude(request);
        }
    }

    /// A process was lost and will not answer.
    pub fn lost(&mut self, peer: Peer) {
        let mut done = Vec::new();
        for (request, list) in &mut self.lists {
            if list.waiting.remove(&peer) && list.waiting.is_empty() {
                done.push(*request);
            }
        }
        for request in done {
            self.conclude(request);
        }
    }

    /// Answers with what came so far.
    pub fn conclude(&mut self, request: u64) {
        if let Some(list) = self.lists.remove(&request) {
            // The client may have left.
            let _ = list.answer.send(list.found);
        }
    }

    /// Opens the question of how the reload of `client` ends.
    pub fn await_verdict(&mut self, client: u64) -> oneshot::Receiver<Verdict> {
        let (answer, receiver) = oneshot::channel();
        self.verdicts.insert(client, answer);
        receiver
    }

    /// A reload ended.
    pub fn verdict(&mut self, client: Option<u64>, generation: u64, errors: Vec<String>) {
        if let Some(answer) = client.and_then(|client| self.verdicts.remove(&client)) {
            // The client may have left.
            let _ = answer.send(Verdict { generation, errors });
        }
    }

    /// Nobody waits any more for the verdict of `client`.
    pub fn forget_verdict(&mut self, client: u64) {
        self.verdicts.remove(&client);
    }
}
