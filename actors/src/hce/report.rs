//! Report: tells the packet filter engine and the relays what checks found.
//! Owns the latest status of every host, and what is not sent yet.
//! Must never wait for a reader: what cannot be sent is merged, so that it stays one status per host. Must never let a
//! host's new state wait, which results that change nothing do: they are many, and only statistics hear of them.
//!
//! In: [`Statuses`] from tables, [`RoundEnd`] from the checker, [`Configure`], [`Resend`].
//! Out: `HostStatus` to pfe and relays once per wake-up that brings a new state, to pfe also every [`RESULTS_LAG`]
//! while there are results, all states to relays again every [`RETOLD_EVERY`]; `RoundEnd` to pfe, `Snapshot` to status.
//! On loss: the role's process ends and is restarted with the last known states.

use super::samples::samples;
use super::{Disabled, checker};
use crate::link::{self, Peer, Role, Sender, To};
use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message};
use conf::Config;
use conf::limits::{CHECK_SLOT, RESULTS_LAG, RETOLD_EVERY, SNAPSHOT_INTERVAL};
use conf::model::HostId;
use protocols::host::{HostState, HostStatus};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

/// New statuses of hosts.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Statuses(pub Vec<HostStatus>);

/// A round of checks ended; its results are on their way here.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RoundEnd;

/// A process was restarted and needs everything.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Resend(pub Peer);

/// A new configuration, or a change of what is disabled in the same one.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Configure {
    /// The configuration.
    pub config: Arc<Config>,
    /// What is disabled.
    pub disabled: Disabled,
    /// What is known of its hosts, for those not reported on yet.
    pub known: Arc<BTreeMap<HostId, HostStatus>>,
}

/// Send snapshots for the metrics listener from now on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Watch(pub Addr<checker::HostChecker>);

/// Figures of the checker for a snapshot.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "()")]
pub struct Figures {
    /// Checks under way.
    pub running: usize,
    /// Times that checks had to wait because too many were under way.
    pub limit_hits: u64,
}

/// The actor.
pub struct Report {
    sender: Sender,
    config: Arc<Config>,
    disabled: Disabled,
    latest: BTreeMap<HostId, HostStatus>,
    changes: BTreeMap<HostId, u64>,
    /// States since the configuration came, as they were told or are about to be.
    told: BTreeMap<HostId, HostState>,
    pfe: Pending,
    relays: Pending,
    /// A queue was full; a time to try again is set.
    retrying: bool,
    /// A time to send results that change nothing is set.
    waiting: bool,
}

/// What one role has not been told yet.
struct Pending {
    to: Role,
    hosts: BTreeMap<HostId, HostStatus>,
    /// Now rather than with others.
    urgent: bool,
}

impl Pending {
    fn new(to: Role) -> Pending {
        Pending {
            to,
            hosts: BTreeMap::new(),
            urgent: false,
        }
    }

    /// Sends what is urgent; true if the queue is full.
    fn flush(&mut self, sender: &Sender) -> bool {
        if !self.urgent || self.hosts.is_empty() {
            return false;
        }
        let hosts = self.hosts.values().copied().collect();
        let message = link::Message::HostStatus { hosts };
        match sender.try_send(To::All(self.to), message) {
            Ok(()) | Err(link::LinkError::Closed) => {
                self.hosts.clear();
                self.urgent = false;
                false
            }
            Err(link::LinkError::Full) => true,
        }
    }
}

impl Report {
    /// Knows nothing yet.
    pub fn new(sender: Sender) -> Report {
        Report {
            sender,
            config: Arc::default(),
            disabled: Disabled::default(),
            latest: BTreeMap::new(),
            changes: BTreeMap::new(),
            told: BTreeMap::new(),
            pfe: Pending::new(Role::Pfe),
            relays: Pending::new(Role::Relay),
            retrying: false,
            waiting: false,
        }
    }

    /// Sends what is urgent. Runs after the mailbox is empty, so a slot's results of all tables go together.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        let full = self.pfe.flush(&self.sender) | self.relays.flush(&self.sender);
        if full && !self.retrying {
            self.retrying = true;
            ctx.run_later(CHECK_SLOT, |act, ctx| {
                act.retrying = false;
                act.flush(ctx);
            });
        }
        if !self.waiting && !self.pfe.hosts.is_empty() {
            self.waiting = true;
            ctx.run_later(RESULTS_LAG, |act, ctx| {
                act.waiting = false;
                act.flush_all(ctx);
            });
        }
    }

    fn flush_all(&mut self, ctx: &mut Context<Self>) {
        self.pfe.urgent = !self.pfe.hosts.is_empty();
        self.flush(ctx);
    }

    /// Tells relays once more what they were told.
    fn retell(&mut self, ctx: &mut Context<Self>) {
        let told = self.told.keys().filter_map(|id| self.latest.get(id));
        self.relays.hosts.extend(told.map(|host| (host.id, *host)));
        self.relays.urgent = !self.relays.hosts.is_empty();
        self.flush(ctx);
    }

    fn snapshot(&self, figures: Figures) {
        let samples = samples(
            &self.config,
            &self.disabled,
            &self.latest,
            &self.changes,
            figures,
        );
        // A full queue costs one snapshot; the next one comes in a second.
        let _ = self
            .sender
            .try_send(To::All(Role::Status), link::Message::Snapshot { samples });
    }
}

impl Actor for Report {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(Flush);
        ctx.run_interval(RETOLD_EVERY, Report::retell);
    }
}

/// Sends what is pending whenever the mailbox has been emptied.
struct Flush;

impl ActorFuture<Report> for Flush {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut Report,
        ctx: &mut Context<Report>,
        _: &mut task::Context<'_>,
    ) -> Poll<()> {
        act.flush(ctx);
        Poll::Pending
    }
}

impl Handler<Statuses> for Report {
    type Result = ();

    fn handle(&mut self, Statuses(hosts): Statuses, _: &mut Context<Self>) {
        for status in hosts {
            let old = self.latest.insert(status.id, status);
            if old.is_none_or(|old| old.state != status.state) {
                *self.changes.entry(status.id).or_default() += 1;
            }
            self.pfe.hosts.insert(status.id, status);
            if self.told.insert(status.id, status.state) != Some(status.state) {
                self.relays.hosts.insert(status.id, status);
                self.relays.urgent = true;
                self.pfe.urgent = true;
            }
        }
    }
}

impl Handler<RoundEnd> for Report {
    type Result = ();

    fn handle(&mut self, _: RoundEnd, ctx: &mut Context<Self>) {
        // The last results are in the mailboxes of tables now, and here within the slot.
        ctx.run_later(CHECK_SLOT, |act, ctx| {
            act.flush_all(ctx);
            let _ = act
                .sender
                .try_send(To::All(Role::Pfe), link::Message::RoundEnd);
        });
    }
}

impl Handler<Resend> for Report {
    type Result = ();

    fn handle(&mut self, Resend(peer): Resend, _: &mut Context<Self>) {
        if !matches!(peer.role, Role::Pfe | Role::Relay) || self.latest.is_empty() {
            return;
        }
        let hosts = self.latest.values().copied().collect();
        let message = link::Message::HostStatus { hosts };
        if self.sender.try_send(To::One(peer), message).is_err() {
            for pending in [&mut self.pfe, &mut self.relays] {
                if pending.to == peer.role {
                    pending.hosts.clone_from(&self.latest);
                    pending.urgent = true;
                }
            }
        }
    }
}

impl Handler<Configure> for Report {
    type Result = ();

    fn handle(&mut self, message: Configure, _: &mut Context<Self>) {
        let ids: std::collections::BTreeSet<HostId> = message
            .config
            .tables
            .iter()
            .flat_map(|table| table.hosts.iter().map(|host| host.id))
            .collect();
        for (id, status) in message.known.iter() {
            self.latest.entry(*id).or_insert(*status);
        }
        self.latest.retain(|id, _| ids.contains(id));
        self.changes.retain(|id, _| ids.contains(id));
        if !Arc::ptr_eq(&self.config, &message.config) {
            // The same id may be another host now, of which nobody has heard.
            self.told.clear();
        }
        for pending in [&mut self.pfe, &mut self.relays] {
            pending.hosts.retain(|id, _| ids.contains(id));
        }
        self.config = message.config;
        self.disabled = message.disabled;
    }
}

impl Handler<Watch> for Report {
    type Result = ();

    fn handle(&mut self, Watch(checker): Watch, ctx: &mut Context<Self>) {
        ctx.run_interval(SNAPSHOT_INTERVAL, move |_, ctx| {
            checker.do_send(checker::Figure(ctx.address()));
        });
    }
}

impl Handler<Figures> for Report {
    type Result = ();

    fn handle(&mut self, figures: Figures, _: &mut Context<Self>) {
        self.snapshot(figures);
    }
}

impl Handler<super::table::Stop> for Report {
    type Result = ();

    fn handle(&mut self, _: super::table::Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
