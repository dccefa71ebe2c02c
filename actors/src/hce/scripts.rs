//! `check script`: programs run by the parent, many at once.
//! Owns the requests that are under way and those that wait.
//! Must never trust the parent to answer in time: a request has a deadline of its own.

use super::wheel::Wheel;
use crate::link::{Message, PARENT, Sender};
use conf::limits::{CHECK_SCRIPT_GRACE, CHECK_SCRIPTS_MAX, CHECK_SLOT};
use conf::model::HostId;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// A script to run for a host.
#[derive(Clone, Debug)]
pub struct Job {
    /// The host.
    pub host: HostId,
    /// Number of the check.
    pub serial: u32,
    /// The program.
    pub path: PathBuf,
    /// Its argument: the host as written.
    pub name: String,
    /// Time limit.
    pub timeout: Duration,
}

/// Scripts under way and waiting.
#[derive(Debug)]
pub struct Scripts {
    sender: Sender,
    last: u64,
    running: BTreeMap<u64, (HostId, u32)>,
    deadlines: Wheel<u64>,
    waiting: VecDeque<Job>,
    retry: Option<Instant>,
}

impl Scripts {
    /// None yet.
    pub fn new(sender: Sender, now: Instant) -> Scripts {
        Scripts {
            sender,
            last: 0,
            running: BTreeMap::new(),
            deadlines: Wheel::new(now),
            waiting: VecDeque::new(),
            retry: None,
        }
    }

    /// Queues a job; a host has at most one.
    pub fn ask(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// Hands waiting jobs to the parent while there is room.
    pub fn start(&mut self, now: Instant) {
        self.retry = None;
        while self.running.len() < CHECK_SCRIPTS_MAX {
            let Some(job) = self.waiting.pop_front() else {
                return;
            };
            self.last = self.last.wrapping_add(1);
            let message = Message::RunScript {
                request: self.last,
                path: job.path.clone(),
                host: job.name.clone(),
                timeout: job.timeout,
            };
            if self.sender.try_send(PARENT, message).is_err() {
                self.waiting.push_front(job);
                self.retry = Some(now + CHECK_SLOT);
                return;
            }
            self.deadlines
                .put(now + job.timeout + CHECK_SCRIPT_GRACE, self.last);
            self.running.insert(self.last, (job.host, job.serial));
        }
    }

    /// An answer of the parent: whose it is, unless it comes too late.
    pub fn ended(&mut self, request: u64) -> Option<(HostId, u32)> {
        self.running.remove(&request)
    }

    /// When [`Scripts::expire`] or [`Scripts::start`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        [self.deadlines.next(), self.retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Requests that the parent never answered.
    pub fn expire(&mut self, now: Instant) -> Vec<(HostId, u32)> {
        let late = self.deadlines.take(now);
        late.into_iter()
            .filter_map(|request| self.running.remove(&request))
            .collect()
    }

    /// Drops waiting jobs of hosts that are no longer to be checked.
    pub fn retain(&mut self, keep: impl Fn(HostId, u32) -> bool) {
        self.waiting.retain(|job| keep(job.host, job.serial));
    }
}
