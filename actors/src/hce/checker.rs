//! HostChecker: runs all checks of all hosts from one wheel with 10 ms slots.
//! Owns the sockets of running checks and the schedule.
//! Must never hold a host's state, and never run more than [`limits::CHECKS_CONCURRENT_MAX`] checks at once.
//!
//! In: [`Configure`], [`Poll`], [`Switch`], [`ScriptEnded`], [`Adopt`] (ICMP sockets), [`Figure`].
//! Out: [`table::Results`] to tables, [`report::RoundEnd`] and [`report::Figures`] to Report, `RunScript` to the parent.
//! On loss: the role's process ends and is restarted; hosts keep their last known state until a new result.
//!
//! The checks of a slot start together; then one look tells which connections are decided already, and only the
//! others are registered with the event loop.

mod message;
mod start;

pub use message::{Adopt, Configure, Figure, Poll, ScriptEnded, Switch};

use super::echo::Echoes;
use super::report::{self, Report};
use super::scripts::Scripts;
use super::table::{self, CheckResult, Table};
use super::target::{Done, Target};
use super::wheel::Wheel;
use super::{schedule, table::Results, tls};
use crate::link::Sender;
use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler};
#[cfg(doc)]
use conf::limits;
use conf::model::{HostId, TableId};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use protocols::check::{Outcome, script};
use protocols::host::Reason;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The actor.
pub struct HostChecker {
    report: Addr<Report>,
    targets: BTreeMap<HostId, Target>,
    tables: BTreeMap<TableId, Addr<Table>>,
    wheel: Wheel<HostId>,
    queue: VecDeque<HostId>,
    exchanges: FuturesUnordered<LocalBoxFuture<'static, Done>>,
    tls: Option<tls::Client>,
    echoes: Echoes,
    scripts: Scripts,
    done: Vec<Done>,
    serial: u32,
    running: usize,
    limit: usize,
    limit_hits: u64,
    warned: bool,
    first: BTreeSet<HostId>,
    round: Duration,
    round_ends: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl HostChecker {
    /// An engine without hosts. `secret` marks its echo requests and must be unpredictable;
    /// `limit` checks may run at once.
    pub fn new(report: Addr<Report>, sender: Sender, secret: u64, limit: usize) -> HostChecker {
        let now = Instant::now();
        HostChecker {
            report,
            targets: BTreeMap::new(),
            tables: BTreeMap::new(),
            wheel: Wheel::new(now),
            queue: VecDeque::new(),
            exchanges: FuturesUnordered::new(),
            tls: tls::Client::new().ok(),
            echoes: Echoes::new(now, secret),
            scripts: Scripts::new(sender, now),
            done: Vec::new(),
            serial: 0,
            running: 0,
            limit: limit.max(1),
            limit_hits: 0,
            warned: false,
            first: BTreeSet::new(),
            round: Duration::ZERO,
            round_ends: None,
            timer: Box::pin(sleep_until(now)),
        }
    }

    /// One turn: take what ended, start what is due, tell the tables, set the timer.
    fn turn(&mut self, cx: &mut task::Context<'_>) {
        loop {
            self.collect(cx);
            let now = Instant::now();
            self.due(now);
            self.start(now);
            // What was just started must be polled once, or nothing will wake it.
            self.collect(cx);
            self.deliver(now);
            if !self.queue.is_empty() && self.running < self.limit {
                // More may start, but others get a turn first.
                cx.waker().wake_by_ref();
                return;
            }
            let Some(next) = self.next() else {
                return;
            };
            if self.timer.deadline() != next {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    /// Takes the results of exchanges and echo requests.
    fn collect(&mut self, cx: &mut task::Context<'_>) {
        while let task::Poll::Ready(Some(done)) = self.exchanges.poll_next_unpin(cx) {
            self.done.push(done);
        }
        self.echoes.poll(cx);
    }

    /// Queues hosts whose slot has come, and fails what is late.
    fn due(&mut self, now: Instant) {
        for id in self.wheel.take(now) {
            let Some(target) = self.targets.get_mut(&id) else {
                continue;
            };
            let last = target.due;
            target.advance(now);
            self.wheel.put(target.due, id);
            match target.flight {
                // Started out of turn (first round, poll) a short time ago: let it end.
                Some(flight) if flight.started + target.interval / 2 > last => {}
                Some(flight) => self.done.push(Done {
                    host: id,
                    serial: flight.serial,
                    outcome: Outcome::none(Reason::IntervalTimeout),
                }),
                None => self.enqueue(id),
            }
        }
        self.echoes.expire(now);
        for (host, serial) in self.scripts.expire(now) {
            self.done.push(Done {
                host,
                serial,
                outcome: script(None),
            });
        }
        if self.round_ends.is_some_and(|end| end <= now) {
            self.report.do_send(report::RoundEnd);
            self.round_ends = Some(now + self.round);
            self.warned = false;
        }
    }

    fn enqueue(&mut self, id: HostId) {
        if let Some(target) = self.targets.get_mut(&id)
            && !target.disabled
            && !target.queued
            && target.flight.is_none()
        {
            target.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Tells each table its results of this turn in one message.
    fn deliver(&mut self, now: Instant) {
        let mut done = std::mem::take(&mut self.done);
        done.extend(self.echoes.decided().into_iter().map(|decided| Done {
            host: decided.host,
            serial: decided.serial,
            outcome: decided.outcome,
        }));
        let mut by_table: BTreeMap<TableId, Vec<CheckResult>> = BTreeMap::new();
        let first = !self.first.is_empty();
        for done in done {
            let Some(target) = self.targets.get_mut(&done.host) else {
                continue;
            };
            let Some(flight) = target.flight.filter(|flight| flight.serial == done.serial) else {
                continue;
            };
            target.flight = None;
            self.running = self.running.saturating_sub(1);
            let took = now.saturating_duration_since(flight.started).as_millis();
            by_table.entry(target.table).or_default().push(CheckResult {
                host: done.host,
                outcome: done.outcome,
                latency_ms: u32::try_from(took).unwrap_or(u32::MAX),
            });
            self.first.remove(&done.host);
            if done.outcome.reason == Reason::IntervalTimeout {
                self.echoes.forget(done.host);
            }
        }
        for (id, results) in by_table {
            if let Some(table) = self.tables.get(&id) {
                table.do_send(Results(results));
            }
        }
        if first && self.first.is_empty() {
            self.report.do_send(report::RoundEnd);
        }
    }

    fn next(&self) -> Option<Instant> {
        [
            self.wheel.next(),
            self.echoes.next(),
            self.scripts.next(),
            self.round_ends,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Checks these hosts at once; when all have ended, a round has.
    fn now(&mut self, hosts: Vec<HostId>) {
        for id in hosts {
            self.enqueue(id);
            if self.targets.get(&id).is_some_and(|target| !target.disabled) {
                self.first.insert(id);
            }
        }
    }
}

impl Actor for HostChecker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(Turns);
    }
}

/// Lets the engine turn whenever something woke the actor.
struct Turns;

impl ActorFuture<HostChecker> for Turns {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut HostChecker,
        _: &mut Context<HostChecker>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<()> {
        act.turn(cx);
        task::Poll::Pending
    }
}

impl Handler<Configure> for HostChecker {
    type Result = ();

    fn handle(&mut self, message: Configure, _: &mut Context<Self>) {
        let now = Instant::now();
        let old = std::mem::replace(&mut self.targets, message.targets);
        let new = schedule::merge(&mut self.targets, old, now);
        self.tables = message.tables;
        self.round = message.round;
        self.round_ends = Some(now + message.round);
        self.wheel.clear();
        for (id, target) in &self.targets {
            self.wheel.put(target.due, *id);
        }
        let targets = &self.targets;
        let current = |host: HostId, serial| {
            let flight = targets.get(&host).and_then(|target| target.flight);
            flight.is_some_and(|flight| flight.serial == serial)
        };
        self.scripts.retain(current);
        self.running = targets.values().filter(|t| t.flight.is_some()).count();
        self.queue
            .retain(|id| targets.get(id).is_some_and(|t| t.queued));
        self.first.retain(|id| targets.contains_key(id));
        self.now(new);
    }
}

impl Handler<Poll> for HostChecker {
    type Result = ();

    fn handle(&mut self, _: Poll, _: &mut Context<Self>) {
        self.now(self.targets.keys().copied().collect());
    }
}

impl Handler<Switch> for HostChecker {
    type Result = ();

    fn handle(&mut self, message: Switch, _: &mut Context<Self>) {
        let mut enabled = Vec::new();
        for (id, disabled) in message.hosts {
            if let Some(target) = self.targets.get_mut(&id) {
                if target.disabled && !disabled {
                    enabled.push(id);
                }
                target.disabled = disabled;
            }
        }
        self.now(enabled);
    }
}

impl Handler<ScriptEnded> for HostChecker {
    type Result = ();

    fn handle(&mut self, message: ScriptEnded, _: &mut Context<Self>) {
        if let Some((host, serial)) = self.scripts.ended(message.request) {
            self.done.push(Done {
                host,
                serial,
                outcome: script(message.status),
            });
        }
    }
}

impl Handler<Adopt> for HostChecker {
    type Result = Result<(), std::io::Error>;

    fn handle(&mut self, Adopt(descriptor): Adopt, _: &mut Context<Self>) -> Self::Result {
        self.echoes.adopt(descriptor)
    }
}

impl Handler<Figure> for HostChecker {
    type Result = ();

    fn handle(&mut self, Figure(report): Figure, _: &mut Context<Self>) {
        report.do_send(report::Figures {
            running: self.running,
            limit_hits: self.limit_hits,
        });
    }
}

impl Handler<table::Stop> for HostChecker {
    type Result = ();

    fn handle(&mut self, _: table::Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
