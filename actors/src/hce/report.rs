//! Report: tells the packet filter engine and the relays what checks found.
//! Owns the latest status of every host, and what is not sent yet.
//! Must never wait for a reader: what cannot be sent is merged, so that it stays one status per host.
//!
//! In: [`Statuses`] from tables, [`RoundEnd`] from the checker, [`Configure`], [`Resend`].
//! Out: `HostStatus` to pfe and relays once per wake-up, `RoundEnd` to pfe, `Snapshot` to status.
//! On loss: the role's process ends and is restarted with the last known states.

use super::samples::samples;
use super::{Disabled, checker};
use crate::link::{self, Peer, Role, Sender, To};
use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message};
use conf::Config;
use conf::limits::{CHECK_SLOT, SNAPSHOT_INTERVAL};
use conf::model::HostId;
use protocols::host::HostStatus;
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
    pending: [Pending; 2],
    retrying: bool,
}

/// What one role has not been told yet.
struct Pending {
    to: Role,
    hosts: BTreeMap<HostId, HostStatus>,
}

impl Report {
    /// Knows nothing yet.
    pub fn new(sender: Sender) -> Report {
        let pending = |to| Pending {
            to,
            hosts: BTreeMap::new(),
        };
        Report {
            sender,
            config: Arc::default(),
            disabled: Disabled::default(),
            latest: BTreeMap::new(),
            changes: BTreeMap::new(),
            pending: [pending(Role::Pfe), pending(Role::Relay)],
            retrying: false,
        }
    }

    /// Sends what is pending. Runs after the mailbox is empty, so a slot's results of all tables go together.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        let mut left = false;
        for pending in &mut self.pending {
            if pending.hosts.is_empty() {
                continue;
            }
            let hosts = pending.hosts.values().copied().collect();
            let message = link::Message::HostStatus { hosts };
            match self.sender.try_send(To::All(pending.to), message) {
                Ok(()) | Err(link::LinkError::Closed) => pending.hosts.clear(),
                Err(link::LinkError::Full) => left = true,
            }
        }
        if left && !self.retrying {
            self.retrying = true;
            ctx.run_later(CHECK_SLOT, |act, _| act.retrying = false);
        }
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
            for pending in &mut self.pending {
                pending.hosts.insert(status.id, status);
            }
        }
    }
}

impl Handler<RoundEnd> for Report {
    type Result = ();

    fn handle(&mut self, _: RoundEnd, ctx: &mut Context<Self>) {
        // The last results are in the mailboxes of tables now, and here within the slot.
        ctx.run_later(CHECK_SLOT, |act, ctx| {
            act.flush(ctx);
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
            for pending in &mut self.pending {
                if pending.to == peer.role {
                    pending.hosts.clone_from(&self.latest);
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
        for pending in &mut self.pending {
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::link::{Remote, pair};
    use conf::limits::LINK_QUEUE;
    use protocols::host::HostState;

    fn report() -> (Addr<Report>, Sender, Remote) {
        let me = Peer {
            role: Role::Hce,
            instance: 0,
        };
        let (link, remote) = pair(me);
        let sender = link.sender.clone();
        (Report::new(sender.clone()).start(), sender, remote)
    }

    fn status(id: u32, checks: u64) -> HostStatus {
        HostStatus {
            checks,
            state: HostState::Up,
            ..HostStatus::unknown(HostId(id))
        }
    }

    #[actix::test]
    async fn results_of_one_turn_go_together_to_pfe_and_relays() {
        let (report, _sender, mut remote) = report();
        for id in 1..=100 {
            report.do_send(Statuses(vec![status(id, 1)]));
        }
        for role in [Role::Pfe, Role::Relay] {
            let outgoing = remote.outbox.recv().await.unwrap();
            assert_eq!(outgoing.to, To::All(role));
            match outgoing.message {
                link::Message::HostStatus { hosts } => assert_eq!(hosts.len(), 100),
                other => panic!("{other:?}"),
            }
        }
    }

    #[actix::test]
    async fn a_slow_parent_gets_the_latest_of_every_host() {
        let (report, sender, mut remote) = report();
        for _ in 0..LINK_QUEUE {
            sender
                .try_send(To::All(Role::Pfe), link::Message::RoundEnd)
                .unwrap();
        }
        for checks in 1..=1000 {
            let statuses = vec![status(1, checks), status(2, checks)];
            report.send(Statuses(statuses)).await.unwrap();
        }
        let mut told = BTreeMap::new();
        for _ in 0..LINK_QUEUE + 2 {
            let outgoing = remote.outbox.recv().await.unwrap();
            if let (To::All(Role::Pfe), link::Message::HostStatus { hosts }) =
                (outgoing.to, outgoing.message)
            {
                told.extend(hosts.into_iter().map(|status| (status.id, status.checks)));
            }
        }
        assert_eq!(told, BTreeMap::from([(HostId(1), 1000), (HostId(2), 1000)]));
    }
}
