//! What the backend is told and asked, and what it answers.
//! Owns these types.
//! Must never name one particular packet filter.

use actix::Message;
use backends::filter::{Forwarded, Ruleset, Service, ServiceStatistics, TableChange};
use conf::Config;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Open the packet filter if it is needed, and say whether it can do what a configuration asks for. Answers whether rules
/// of an earlier process serve meanwhile.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, String>")]
pub struct Prepare {
    /// The configuration.
    pub config: Arc<Config>,
    /// Numbers of tags by name.
    pub tags: BTreeMap<String, u8>,
    /// What the parent holds for the packet filter, if this is news.
    pub handle: Option<OwnedFd>,
}

/// Make the packet filter equal to this.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Apply {
    /// Desired state.
    pub desired: Ruleset,
    /// `log state changes`
    pub log: bool,
}

/// Put these services in the place of those of the same redirections in the desired state, and the packet filter with it.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Change(pub Vec<Arc<Service>>);

/// What an [`Apply`] or a [`Change`] did.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Applied(pub Vec<TableChange>);

/// About a second passed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Tick;

/// What relay processes forwarded.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Count(pub Vec<Forwarded>);

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
