//! Metrics: collects what processes tell and answers scrapes.
//! Owns the store and the text of the last scrape.
//! Must never do more work for many scrapers than for one: a text lives until the next snapshot could differ.
//!
//! In: [`Snapshot`], [`Gone`], [`Loaded`], [`Render`]. Out: the text, as the answer to [`Render`].
//! On loss: the role's process ends and is restarted; values come again within a second.

use super::names;
use super::sample;
use super::store::Store;
use crate::link::{Peer, Role, Sample};
use actix::{Actor, ActorContext, Context, Handler, Message, MessageResult};
use conf::limits::SNAPSHOT_INTERVAL;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The values of a process.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Snapshot(pub Peer, pub Vec<Sample>);

/// A process ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Gone(pub Peer);

/// A configuration is in use.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Loaded(pub u64);

/// Answer a scrape.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Arc<str>")]
pub struct Render;

/// End the actor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// The actor.
#[derive(Debug, Default)]
pub struct Metrics {
    store: Store,
    loaded: Option<(u64, f64)>,
    text: Option<(Instant, Arc<str>)>,
}

impl Metrics {
    /// What this role knows itself.
    fn own(&self) -> Vec<Sample> {
        let mut samples = sample::samples();
        samples.push(names::BUILD_INFO.sample(&[env!("CARGO_PKG_VERSION")], 1.0));
        if let Some((generation, at)) = self.loaded {
            samples.push(names::CONFIGURATION_GENERATION.sample(&[], generation as f64));
            samples.push(names::CONFIGURATION_TIMESTAMP.sample(&[], at));
        }
        samples
    }
}

impl Actor for Metrics {
    type Context = Context<Self>;
}

impl Handler<Snapshot> for Metrics {
    type Result = ();

    fn handle(&mut self, Snapshot(peer, samples): Snapshot, _: &mut Context<Self>) {
        self.store.snapshot(peer, samples, Instant::now());
    }
}

impl Handler<Gone> for Metrics {
    type Result = ();

    fn handle(&mut self, Gone(peer): Gone, _: &mut Context<Self>) {
        self.store.forget(peer);
    }
}

impl Handler<Loaded> for Metrics {
    type Result = ();

    fn handle(&mut self, Loaded(generation): Loaded, _: &mut Context<Self>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.loaded = Some((generation, now.unwrap_or_default().as_secs_f64()));
    }
}

impl Handler<Render> for Metrics {
    type Result = MessageResult<Render>;

    fn handle(&mut self, _: Render, _: &mut Context<Self>) -> MessageResult<Render> {
        let now = Instant::now();
        if let Some((at, text)) = &self.text
            && now.duration_since(*at) < SNAPSHOT_INTERVAL / 2
        {
            return MessageResult(Arc::clone(text));
        }
        let me = Peer {
            role: Role::Status,
            instance: 0,
        };
        self.store.snapshot(me, self.own(), now);
        let text: Arc<str> = self.store.render(now).into();
        self.text = Some((now, Arc::clone(&text)));
        MessageResult(text)
    }
}

impl Handler<Stop> for Metrics {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
