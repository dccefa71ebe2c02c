//! Backend: the one owner of the packet filter.
//! Owns the backend, the last desired state, and the log line of each change.
//! Must never decide anything: it makes the kernel equal to what it is told, in one transaction.
//!
//! In: [`Prepare`], [`Apply`], [`Tick`], [`Count`], [`Statistics`], [`Lookup`], [`Purge`], [`Release`].
//! Out: [`Applied`] to pfe after each change.
//! On loss: cannot be lost alone; a panic ends the process, and the next one adopts what the kernel has.

use super::actor::Pfe;
use super::samples::{Counters, count};
use crate::link::{Message as LinkMessage, Role, Sender, To};
use crate::options::{Backend as Choice, Options};
use actix::{Actor, Addr, Context, Handler, Message};
use backends::filter::{
    self, FilterError, Kind, PacketFilter, Publisher, Ruleset, ServiceStatistics, TableChange,
};
use conf::Config;
use conf::model::{HostId, RedirectId};
use protocols::log::table as words;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Open the packet filter if it is needed, and say whether it can do what a configuration asks for.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), String>")]
pub struct Prepare(pub Arc<Config>);

/// Make the packet filter equal to this.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Apply {
    /// Desired state.
    pub desired: Ruleset,
    /// `log state changes`
    pub log: bool,
}

/// What an [`Apply`] did.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Applied(pub Vec<TableChange>);

/// About a second passed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Tick;

/// New sessions that relay processes forwarded.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Count(pub Vec<(RedirectId, HostId, u64)>);

/// Counters of all services.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<ServiceStatistics>")]
pub struct Statistics;

/// Destination of a redirected connection before translation.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<SocketAddr>")]
pub struct Lookup {
    /// Client.
    pub client: SocketAddr,
    /// Local address of the accepted socket.
    pub local: SocketAddr,
}

/// Remove everything with all flows, and install it anew; whether that worked.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Purge;

/// Clean stop: no new connection is redirected.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Release;

/// IP protocol number of TCP: only TCP relays ask for a [`Lookup`].
const TCP: u8 = 6;

/// The actor.
pub struct Backend {
    options: Arc<Options>,
    link: Sender,
    pfe: Addr<Pfe>,
    filter: Option<Box<dyn PacketFilter>>,
    last: Option<Apply>,
    /// The last desired state is not in the kernel yet.
    failed: bool,
    /// Error told last: a lasting one is told once.
    told: Option<String>,
    warned: BTreeSet<String>,
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
            last: None,
            failed: false,
            told: None,
            warned: BTreeSet::new(),
            counters,
        }
    }

    fn kind(&self) -> Kind {
        match self.options.backend {
            Choice::Nftables => Kind::Nftables,
            Choice::Pf => Kind::Pf,
            Choice::Userland => Kind::Userland,
            Choice::Recording => Kind::Recording,
            Choice::Auto => filter::choose().kind,
        }
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

    fn open(&mut self) -> Result<(), FilterError> {
        if self.filter.is_none() {
            let kind = self.kind();
            let mut filter = filter::open(kind, &self.options.table, self.publisher())?;
            filter.configure(filter::Settings {
                kill_tcp: self.options.kill_tcp,
            });
            filter.adopt()?;
            tracing::debug!("{}", words::FILTER_INIT_DONE);
            self.filter = Some(filter);
        }
        Ok(())
    }

    fn prepare(&mut self, config: &Config) -> Result<(), FilterError> {
        // Without redirections nobody needs a packet filter, nor the right to use one.
        if config.redirects.is_empty() && self.filter.is_none() {
            if self.last.is_none() {
                // The original says so even then.
                tracing::debug!("{}", words::FILTER_INIT_DONE);
            }
            return Ok(());
        }
        self.open()?;
        let Some(filter) = &self.filter else {
            return Ok(());
        };
        let (can, name) = (filter.capabilities(), filter.name());
        config
            .redirects
            .iter()
            .try_for_each(|r| filter::support::check_redirect(config, r, can, name))
    }

    fn apply(&mut self) {
        let (Some(filter), Some(last)) = (&mut self.filter, &self.last) else {
            return;
        };
        let result = filter.apply(&last.desired);
        self.failed = result.is_err();
        match result {
            Ok(changes) => {
                self.told = None;
                let log = last.log;
                for warning in filter.warnings(&last.desired) {
                    if self.warned.insert(warning.clone()) {
                        tracing::warn!("{warning}");
                    }
                }
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

    fn purge(&mut self) -> bool {
        let Some(filter) = &mut self.filter else {
            return true;
        };
        if let Err(error) = filter.purge() {
            self.tell(&error);
            return false;
        }
        self.apply();
        !self.failed
    }
}

impl Actor for Backend {
    type Context = Context<Self>;
}

impl Handler<Prepare> for Backend {
    type Result = Result<(), String>;

    fn handle(&mut self, Prepare(config): Prepare, _: &mut Context<Self>) -> Self::Result {
        self.prepare(&config).map_err(|e| e.to_string())
    }
}

impl Handler<Apply> for Backend {
    type Result = ();

    fn handle(&mut self, message: Apply, _: &mut Context<Self>) {
        self.last = Some(message);
        self.apply();
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

    fn handle(&mut self, Count(sessions): Count, _: &mut Context<Self>) {
        if let Some(filter) = &mut self.filter {
            filter.count(&sessions);
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

    fn handle(&mut self, _: Purge, _: &mut Context<Self>) -> bool {
        self.purge()
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
