//! Backend: the one owner of the packet filter.
//! Owns the backend, the last desired state, and the log line of each change.
//! Must never decide anything: it makes the kernel equal to what it is told, in one transaction.
//!
//! In: [`Prepare`], [`Apply`], [`Change`], [`Tick`], changes of our rules by others, [`Count`], [`Statistics`], [`Lookup`], [`Purge`], [`Release`].
//! Out: [`Applied`] to pfe after each change.
//! On loss: cannot be lost alone; a panic ends the process, and the next one adopts what the kernel has.

mod message;

pub use message::{
    Applied, Apply, Change, Count, Lookup, Prepare, Purge, Release, Statistics, Tick,
};

use super::actor::Pfe;
use super::samples::{Counters, count};
use crate::link::{Message as LinkMessage, Role, Sender, To};
use crate::options::Options;
use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, ResponseActFuture, SpawnHandle,
    WrapFuture,
};
use backends::filter::{
    self, FilterError, Kind, PacketFilter, Publisher, Relayed, Ruleset, Service, ServiceStatistics,
    TableChange,
};
use conf::Config;
use conf::limits::{SUCCESSION_STEP, SUCCESSION_TRIES};
use protocols::log::table as words;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::UnixDatagram;

/// IP protocol number of TCP: only TCP relays ask for a [`Lookup`].
const TCP: u8 = 6;
/// The actor.
pub struct Backend {
    options: Arc<Options>,
    link: Sender,
    pfe: Addr<Pfe>,
    filter: Option<Box<dyn PacketFilter>>,
    settings: filter::Settings,
    handle: Option<OwnedFd>,
    last: Option<Apply>,
    /// The last desired state is not in the kernel yet.
    failed: bool,
    /// Error told last: a lasting one is told once.
    told: Option<String>,
    /// Waits for changes of our rules by others.
    watch: Option<SpawnHandle>,
    counters: Rc<Counters>,
}

impl Backend {
    /// A backend that is not opened yet.
    pub fn new(
        options: Arc<Options>,
        link: Sender,
        pfe: Addr<Pfe>,
        counters: Rc<Counters>,
    ) -> Backend {
        Backend {
            options,
            link,
            pfe,
            filter: None,
            settings: filter::Settings::default(),
            handle: None,
            last: None,
            failed: false,
            told: None,
            watch: None,
            counters,
        }
    }

    fn kind(&self) -> Kind {
        let chosen = self.options.backend.kind();
        chosen.unwrap_or_else(|| filter::choose().kind)
    }

    /// Services for the relay processes, which serve them when no packet filter does.
    fn publisher(&self) -> Publisher {
        let link = self.link.clone();
        Box::new(move |services| {
            let link = link.clone();
            let message = LinkMessage::Forwarding { services };
            actix::spawn(async move {
                // The role ends when the parent is gone.
                let _ = link.tell(To::All(Role::Relay), message).await;
            });
        })
    }

    fn open(&mut self, ctx: &mut Context<Self>) -> Result<(), FilterError> {
        if self.filter.is_none() {
            let kind = self.kind();
            let handle = self.handle.as_ref().and_then(|h| h.try_clone().ok());
            let mut filter = filter::open(kind, &self.options.table, self.publisher(), handle)?;
            filter.configure(self.settings.clone());
            filter.adopt()?;
            tracing::debug!("{}", words::FILTER_INIT_DONE);
            self.filter = Some(filter);
            self.watch(ctx);
        }
        Ok(())
    }

    /// Waits until the packet filter reports a change. The descriptor is asked for anew each time: it is another one
    /// after the rules were restored.
    fn watch(&mut self, ctx: &mut Context<Self>) {
        if let Some(old) = self.watch.take() {
            ctx.cancel_future(old);
        }
        let Some(descriptor) = self.filter.as_ref().and_then(|f| f.watch()) else {
            return;
        };
        // Any type of socket does: nothing but its readiness is used.
        let socket = StdDatagram::from(descriptor);
        let socket = socket
            .set_nonblocking(true)
            .and_then(|()| UnixDatagram::from_std(socket));
        match socket {
            Ok(socket) => {
                let readable = async move { socket.readable().await.is_ok() };
                let readable = readable.into_actor(self);
                let then = readable.map(|told, backend, ctx| backend.disturbed(told, ctx));
                self.watch = Some(ctx.spawn(then));
            }
            // Every second we look anyway.
            Err(error) => tracing::debug!("packet filter: {error}"),
        }
    }

    fn disturbed(&mut self, told: bool, ctx: &mut Context<Self>) {
        self.watch = None;
        let Some(filter) = self.filter.as_mut().filter(|_| told) else {
            return;
        };
        match filter.restore() {
            Ok(line) => line.iter().for_each(|line| tracing::warn!("{line}")),
            Err(error) => self.tell(&error),
        }
        self.watch(ctx);
    }

    /// Whether relays need a packet filter, and the one in use can do something for them.
    fn relays_need(&self, config: &Config) -> bool {
        !Relayed::of(config).is_empty() && self.kind() == Kind::Nftables
    }

    fn prepare(&mut self, config: &Config, ctx: &mut Context<Self>) -> Result<bool, FilterError> {
        // Without redirections hardly anybody needs a packet filter, or the right to use one.
        if config.redirects.is_empty() && self.filter.is_none() && !self.relays_need(config) {
            if self.last.is_none() {
                // The original says so even then.
                tracing::debug!("{}", words::FILTER_INIT_DONE);
            }
            return Ok(false);
        }
        self.open(ctx)?;
        let Some(filter) = &self.filter else {
            return Ok(false);
        };
        filter.verify(&Ruleset::all_up(config, false))?;
        Ok(filter.serving())
    }

    /// The process before this one was perhaps killed and still ends; until then the rules are its own.
    fn prepare_within(
        &mut self,
        config: Arc<Config>,
        tries: u32,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<bool, String>> {
        match self.prepare(&config, ctx) {
            Err(FilterError::Owned(_)) if tries > 0 => {
                let wait = tokio::time::sleep(SUCCESSION_STEP).into_actor(self);
                Box::pin(
                    wait.then(move |(), backend, ctx| {
                        backend.prepare_within(config, tries - 1, ctx)
                    }),
                )
            }
            result => Box::pin(actix::fut::ready(result.map_err(|e| e.to_string()))),
        }
    }

    fn apply(&mut self) {
        if let (Some(filter), Some(last)) = (&mut self.filter, &self.last) {
            let result = filter.apply(&last.desired);
            self.done(result);
        }
    }

    fn change(&mut self, changed: &[Arc<Service>]) {
        let Some(last) = &mut self.last else {
            return;
        };
        for service in changed {
            last.desired.replace(service);
        }
        if self.failed {
            return self.apply();
        }
        if let Some(filter) = &mut self.filter {
            let result = filter.change(&last.desired, changed);
            self.done(result);
        }
    }

    fn done(&mut self, result: Result<Vec<TableChange>, FilterError>) {
        self.failed = result.is_err();
        match result {
            Ok(changes) => {
                self.told = None;
                let log = self.last.as_ref().is_some_and(|last| last.log);
                self.applied(changes, log);
            }
            Err(error) => {
                count(&self.counters.errors);
                self.tell(&error);
            }
        }
    }

    fn applied(&mut self, changes: Vec<TableChange>, log: bool) {
        for c in changes.iter().filter(|_| log) {
            let line = words::changed(&c.name, c.added, c.deleted, c.changed, c.killed);
            tracing::info!("{line}");
        }
        if !changes.is_empty() {
            count(&self.counters.changes);
            self.pfe.do_send(Applied(changes));
        }
    }

    /// Tells an error, once while it lasts.
    fn tell(&mut self, error: &FilterError) {
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            tracing::error!("packet filter: {text}");
            self.told = Some(text);
        }
    }

    fn tick(&mut self) {
        if self.failed {
            self.apply();
        }
        let Some(filter) = &mut self.filter else {
            return;
        };
        match filter.tick() {
            Ok(lines) => lines.iter().for_each(|line| tracing::warn!("{line}")),
            Err(error) => self.tell(&error),
        }
    }

    fn purge(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(filter) = &mut self.filter else {
            return true;
        };
        if let Err(error) = filter.purge() {
            // Nobody knows how far it came: the next tick writes what shall be there.
            self.failed = true;
            count(&self.counters.errors);
            self.tell(&error);
            return false;
        }
        self.apply();
        self.watch(ctx);
        !self.failed
    }
}

impl Actor for Backend {
    type Context = Context<Self>;
}

impl Handler<Prepare> for Backend {
    type Result = ResponseActFuture<Self, Result<bool, String>>;

    fn handle(&mut self, message: Prepare, ctx: &mut Context<Self>) -> Self::Result {
        self.settings = filter::Settings {
            kill_tcp: self.options.kill_tcp,
            shared: !self.options.protect_table,
            tags: message.tags,
        };
        if message.handle.is_some() {
            self.handle = message.handle;
        }
        if let Some(filter) = &mut self.filter {
            filter.configure(self.settings.clone());
        }
        self.prepare_within(message.config, SUCCESSION_TRIES, ctx)
    }
}

impl Handler<Apply> for Backend {
    type Result = ();

    fn handle(&mut self, message: Apply, _: &mut Context<Self>) {
        self.last = Some(message);
        self.apply();
    }
}

impl Handler<Change> for Backend {
    type Result = ();

    fn handle(&mut self, Change(changed): Change, _: &mut Context<Self>) {
        self.change(&changed);
    }
}

impl Handler<Tick> for Backend {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        self.tick();
    }
}

impl Handler<Count> for Backend {
    type Result = ();

    fn handle(&mut self, Count(forwarded): Count, _: &mut Context<Self>) {
        if let Some(filter) = &mut self.filter {
            filter.count(&forwarded);
        }
    }
}

impl Handler<Statistics> for Backend {
    type Result = Vec<ServiceStatistics>;

    fn handle(&mut self, _: Statistics, _: &mut Context<Self>) -> Self::Result {
        let Some(filter) = &mut self.filter else {
            return Vec::new();
        };
        filter.statistics().unwrap_or_else(|error| {
            self.tell(&error);
            Vec::new()
        })
    }
}

impl Handler<Lookup> for Backend {
    type Result = Option<SocketAddr>;

    fn handle(&mut self, lookup: Lookup, _: &mut Context<Self>) -> Self::Result {
        let filter = self.filter.as_mut()?;
        match filter.nat_lookup(TCP, lookup.client, lookup.local) {
            Ok(destination) => destination,
            Err(error) => {
                self.tell(&error);
                None
            }
        }
    }
}

impl Handler<Purge> for Backend {
    type Result = bool;

    fn handle(&mut self, _: Purge, ctx: &mut Context<Self>) -> bool {
        self.purge(ctx)
    }
}

impl Handler<Release> for Backend {
    type Result = ();

    fn handle(&mut self, _: Release, _: &mut Context<Self>) {
        let released = self.filter.take().map(|mut filter| filter.release());
        if let Some(Err(error)) = released {
            self.tell(&error);
        }
    }
}
