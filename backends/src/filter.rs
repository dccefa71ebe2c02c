//! The packet filter as the daemon sees it: a desired state, and what was done to reach it.
//! Owns the trait that every backend implements, and the desired state's types.
//! Must never contain anything of one particular packet filter.

pub mod collisions;
pub mod diff;
mod open;
mod relays;
mod ruleset;
mod statistics;
pub mod support;
#[cfg(test)]
pub(crate) mod testing;

pub use open::{
    Choice, Kind, Publisher, choose, handle, known_tags, open, preview, surroundings, verify,
};
pub use relays::Relayed;
pub use ruleset::{Ruleset, Server, ServerState, Service};
pub use statistics::{Forwarded, ServiceStatistics, Traffic};

use conf::model::{Forward, HostId, Mode, RedirectId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use thiserror::Error;

/// What one call of [`PacketFilter::apply`] did to one service; the numbers of the original's log line
/// `table NAME: N added, N deleted, N changed, N killed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableChange {
    /// Redirection.
    pub redirect: u32,
    /// Name in the log line.
    pub name: String,
    /// Hosts added.
    pub added: u32,
    /// Hosts deleted.
    pub deleted: u32,
    /// Hosts changed.
    pub changed: u32,
    /// States or sticky entries killed.
    pub killed: u32,
    /// `Some(true)`: rules were installed; `Some(false)`: rules were withdrawn.
    pub rules: Option<bool>,
}

/// What a backend can do; anything else in a configuration is an error that names the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `route to` (Direct Server Return).
    pub route: bool,
    /// `pftag`.
    pub tag: bool,
    /// `match pftag`.
    pub match_only: bool,
    /// `interface` in `listen on`.
    pub interface: bool,
    /// `pflog`.
    pub log: bool,
    /// `sticky-address`.
    pub sticky: bool,
    /// `least-states`.
    pub least_states: bool,
    /// Port ranges.
    pub ranges: bool,
    /// UDP services.
    pub udp: bool,
    /// Address and port before translation (`nat lookup`).
    pub nat_lookup: bool,
    /// The daemon itself must listen on the virtual addresses.
    pub needs_listeners: bool,
}

/// Why the packet filter could not do what was asked.
#[derive(Debug, Error)]
pub enum FilterError {
    /// The process lacks the right, or the kernel the feature.
    #[error("{object}: {reason}; {cure}")]
    Unavailable {
        /// What was asked for.
        object: String,
        /// What the system answered.
        reason: String,
        /// What the administrator can do.
        cure: &'static str,
    },
    /// Another daemon owns the rules.
    #[error("{0} belongs to another running relayd; stop it or choose another table name")]
    Owned(String),
    /// The kernel refused a change; nothing of it was applied.
    #[error("{object}: {source}")]
    Refused {
        /// The object of the failing message.
        object: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The system has not what only relays need.
    #[error("{object}: {reason}; {cure}")]
    Lacking {
        /// What was asked for.
        object: String,
        /// What the system answered.
        reason: String,
        /// What the administrator can do.
        cure: &'static str,
    },
    /// The configuration asks for what this backend cannot do.
    #[error("{object}: {what} is not possible with the {backend} packet filter")]
    Unsupported {
        /// Redirection.
        object: String,
        /// Option.
        what: &'static str,
        /// Backend name.
        backend: &'static str,
    },
}

/// Choices of the operator that concern every service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// End the TCP connections of a host that goes down, too; UDP is always ended.
    pub kill_tcp: bool,
    /// Leave the rules open to other programs, even where the kernel could forbid changes.
    pub shared: bool,
    /// Numbers of tags by name, as [`known_tags`] read them.
    pub tags: BTreeMap<String, u8>,
}

/// A packet filter. All calls are short (one transaction) and never partly applied.
pub trait PacketFilter {
    /// Name in options and messages.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Choices that hold from the next call on.
    fn configure(&mut self, settings: Settings) {
        let _ = settings;
    }

    /// A descriptor that becomes readable when our rules changed: call [`PacketFilter::restore`] then, and ask anew.
    fn watch(&self) -> Option<OwnedFd> {
        None
    }

    /// Puts right what somebody else changed; answers a line for the log if there was something.
    ///
    /// # Errors
    /// The kernel refused.
    fn restore(&mut self) -> Result<Option<String>, FilterError> {
        Ok(None)
    }

    /// Whether it can do what `desired` asks for, before anything is applied.
    ///
    /// # Errors
    /// The first thing it cannot do, with the redirection's name.
    fn verify(&self, desired: &Ruleset) -> Result<(), FilterError> {
        collisions::check(desired)?;
        support::check(desired, self.capabilities(), self.name())
    }

    /// Takes over what an earlier process left in the kernel without touching flows, or makes a fresh start.
    ///
    /// # Errors
    /// No right, no kernel support, or another owner.
    fn adopt(&mut self) -> Result<(), FilterError>;

    /// Whether rules that [`PacketFilter::adopt`] found still redirect connections. As long as little is known of the
    /// hosts, they serve better than what could be written.
    fn serving(&self) -> bool {
        false
    }

    /// Makes the kernel equal to `desired` in one transaction with the smallest change.
    ///
    /// # Errors
    /// Nothing of `desired` was applied.
    fn apply(&mut self, desired: &Ruleset) -> Result<Vec<TableChange>, FilterError>;

    /// As [`PacketFilter::apply`], where `desired` differs in `changed` only from what was applied last. What this costs
    /// need not grow with the rest.
    ///
    /// # Errors
    /// Nothing of `desired` was applied.
    fn change(
        &mut self,
        desired: &Ruleset,
        changed: &[Arc<Service>],
    ) -> Result<Vec<TableChange>, FilterError> {
        let _ = changed;
        self.apply(desired)
    }

    /// Counters of all services.
    ///
    /// # Errors
    /// The kernel could not be asked.
    fn statistics(&mut self) -> Result<Vec<ServiceStatistics>, FilterError>;

    /// Kills the states of a host of a service, or of the whole service; answers how many.
    ///
    /// # Errors
    /// The kernel refused.
    fn kill(&mut self, service: RedirectId, host: Option<HostId>) -> Result<u32, FilterError>;

    /// Original destination of a redirected connection.
    ///
    /// # Errors
    /// The kernel refused.
    fn nat_lookup(
        &mut self,
        ip_protocol: u8,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Result<Option<SocketAddr>, FilterError>;

    /// Clean stop: no new connection is redirected, established ones go on.
    ///
    /// # Errors
    /// The kernel refused.
    fn release(&mut self) -> Result<(), FilterError>;

    /// Removes everything, with all flows.
    ///
    /// # Errors
    /// The kernel refused.
    fn purge(&mut self) -> Result<(), FilterError>;

    /// What relay processes forwarded since the last call; only `userland` needs it.
    fn count(&mut self, forwarded: &[Forwarded]) {
        let _ = forwarded;
    }

    /// Repeats what needs repeating (pick lists of `least-states`, a foreign flush noticed late). Called about every
    /// second; answers what was restored or went wrong, one line each, for the log.
    ///
    /// # Errors
    /// The kernel refused.
    fn tick(&mut self) -> Result<Vec<String>, FilterError> {
        Ok(Vec::new())
    }

    /// The rules of `desired` as text, in the packet filter's own language.
    fn preview(&self, desired: &Ruleset) -> String;
}
