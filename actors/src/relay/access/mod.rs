//! Access logs: what relay processes write of requests and sessions, beside the session's log line.
//! Owns the targets of all access logs of the process, and when waiting lines are written.
//! Must never make a session wait: what a target does not take in time is lost, and counted.

mod outlet;
mod record;

pub use outlet::Outlet;
pub use record::{Record, session, wall_clock};

use super::context::Context;
use super::counters::Count;
use super::relays::Relay;
use crate::link::{Message, PARENT};
use conf::limits;
use conf::model::{AccessLog, AccessTarget, Config};
use outlet::Left;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// What the outlets of a process share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Lines written.
    pub written: Count,
    /// Lines lost: the target was full, slow or away.
    pub lost: Count,
    wake: Notify,
}

/// The targets of the access logs of a process.
#[derive(Debug, Default)]
pub struct Outlets {
    all: RefCell<BTreeMap<AccessTarget, Rc<Outlet>>>,
    shared: Rc<Shared>,
}

impl Outlets {
    /// The counters.
    pub fn counts(&self) -> &Shared {
        &self.shared
    }

    /// The outlet of a target; lines wait in it while the target is not open.
    pub fn of(&self, target: &AccessTarget) -> Rc<Outlet> {
        let mut all = self.all.borrow_mut();
        if let Some(outlet) = all.get(target) {
            return Rc::clone(outlet);
        }
        let outlet = Rc::new(Outlet::new(target.clone(), Rc::clone(&self.shared)));
        all.insert(target.clone(), Rc::clone(&outlet));
        outlet
    }

    /// Uses what the parent opened.
    pub(super) fn install(&self, target: &AccessTarget, descriptor: OwnedFd) {
        self.of(target).install(descriptor);
    }

    /// Closes targets that neither the configuration nor a session has a use for.
    pub(super) fn prune(&self, config: &Config) {
        let used = |target: &AccessTarget| {
            let logs = config.relays.iter().filter_map(|r| r.access.as_ref());
            logs.into_iter().any(|log| log.target == *target)
        };
        self.all
            .borrow_mut()
            .retain(|target, outlet| used(target) || Rc::strong_count(outlet) > 1);
    }

    /// Writes what waits, as far as the targets take it.
    pub(super) fn flush(&self) -> Left {
        let all = self.all.borrow();
        all.values()
            .map(|outlet| outlet.flush())
            .max()
            .unwrap_or(Left::Nothing)
    }

    /// Whether it is time to ask for a target that is away; each has its own interval.
    fn ask(&self, now: Instant) -> bool {
        let all = self.all.borrow();
        // Each of them is asked for at once: no short cut.
        all.values().filter(|outlet| outlet.ask(now)).count() > 0
    }

    /// Writes lines in batches for ever; `reopen` asks for the targets that are away.
    async fn write_batches(&self, reopen: impl Fn()) {
        loop {
            self.shared.wake.notified().await;
            loop {
                sleep(limits::ACCESS_DELAY).await;
                match self.flush() {
                    Left::Nothing => break,
                    Left::Blocked => {}
                    Left::Gone if self.ask(Instant::now()) => reopen(),
                    // Nobody else's lines wait for it.
                    Left::Gone => {}
                }
            }
        }
    }
}

/// Writes lines in batches, as long as the process runs.
pub(super) async fn write_batches(context: Rc<Context>) {
    let reopen = || {
        // Asked again if this finds no room.
        let _ = context.link.try_send(PARENT, Message::ReopenLogs);
    };
    context.access.write_batches(reopen).await;
}

/// The access log of a relay and its outlet.
pub(super) fn log_of<'a>(
    context: &Context,
    relay: &'a Relay,
) -> Option<(&'a AccessLog, &'a Rc<Outlet>)> {
    let log = relay.config.access.as_ref()?;
    let outlet = relay.outlet.get_or_init(|| context.access.of(&log.target));
    Some((log, outlet))
}
