//! The packet filter as the daemon sees it: a desired state, and what was done to reach it.
//! Owns the trait that every backend implements, and the desired state's types.
//! Must never contain anything of one particular packet filter.

pub mod collisions;
pub mod diff;
mod open;
mod relays;
pub mod support;
#[cfg(test)]
pub(crate) mod testing;

pub use open::{
    Choice, Kind, Publisher, choose, handle, known_tags, open, preview, surroundings, verify,
};
pub use relays::Relayed;

use conf::model::{
    Address, Config, Forward, HashKey, HostId, Mode, PfTag, Redirect, RedirectId, TableId,
    VirtualAddress,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Everything the packet filter shall do: one service per redirection, in the order of ids, and what relays need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// The services; shared, as one round of changes leaves nearly all as they were.
    pub services: Vec<Arc<Service>>,
    /// Relays that need the packet filter.
    pub relays: Vec<Relayed>,
}

impl FromIterator<Service> for Ruleset {
    fn from_iter<I: IntoIterator<Item = Service>>(services: I) -> Ruleset {
        let services = services.into_iter().map(Arc::new).collect();
        Ruleset {
            services,
            relays: Vec::new(),
        }
    }
}

/// Desired state of one redirection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Id of the redirection.
    pub id: RedirectId,
    /// Its name; identifies it over reloads.
    pub name: String,
    /// False while disabled or without a usable host: nothing is redirected.
    pub active: bool,
    /// Virtual addresses.
    pub listeners: Vec<VirtualAddress>,
    /// Table in use: main or backup.
    pub table: TableId,
    /// Its instance name, for the log.
    pub table_name: String,
    /// Hosts of main and backup table, in file order.
    pub servers: Vec<Server>,
    /// Keep the packet's destination port.
    pub keep_port: bool,
    /// Port connections are sent to otherwise.
    pub port: u16,
    /// How a host is chosen.
    pub mode: Mode,
    /// Key of a hashing mode, already random where the file gives none.
    pub key: HashKey,
    /// Translation or Direct Server Return.
    pub forward: Forward,
    /// A client keeps its host.
    pub sticky: bool,
    /// Tag for the administrator's rules.
    pub tag: Option<PfTag>,
    /// Idle time of established connections.
    pub session_timeout: Duration,
    /// Masquerade towards the hosts.
    pub masquerade: bool,
    /// Count packets and bytes of each host.
    pub count_traffic: bool,
}

/// Desired state of one host of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Id of the host.
    pub id: HostId,
    /// Its table.
    pub table: TableId,
    /// As written in the file.
    pub name: String,
    /// Address.
    pub address: Address,
    /// Destination port of its table.
    pub port: u16,
    /// Share of new connections, from 1.
    pub weight: u16,
    /// Most connections at once.
    pub max_connections: Option<u32>,
    /// What it may get.
    pub state: ServerState,
}

/// What a host may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerState {
    /// New and established connections.
    Up,
    /// Established connections only.
    Drain,
    /// Nothing.
    Down,
}

impl Ruleset {
    /// The redirections of a configuration with every host up: what `-n` shows, and what a configuration is judged by
    /// before it is accepted.
    pub fn all_up(config: &Config, count_traffic: bool) -> Ruleset {
        let services = config.redirects.iter().map(|redirect| {
            let key = redirect.key.unwrap_or(HashKey([0; 16]));
            let mut service = Service::new(config, redirect, key);
            service.active = !redirect.disabled;
            service.count_traffic = count_traffic;
            for server in &mut service.servers {
                server.state = ServerState::Up;
            }
            service
        });
        Ruleset {
            relays: Relayed::of(config),
            ..services.collect()
        }
    }
}

impl Service {
    /// The service of a redirection before any host is known to be up.
    pub fn new(config: &Config, redirect: &Redirect, key: HashKey) -> Service {
        let mut servers = Vec::new();
        for table in [Some(redirect.table), redirect.backup]
            .into_iter()
            .flatten()
            .filter_map(|id| config.table(id))
        {
            servers.extend(table.hosts.iter().map(|host| Server {
                id: host.id,
                table: table.id,
                name: host.name.clone(),
                address: host.address,
                port: table.port,
                weight: host.weight,
                max_connections: host.max_connections,
                state: ServerState::Down,
            }));
        }
        Service {
            id: redirect.id,
            name: redirect.name.clone(),
            active: false,
            listeners: redirect.listeners.clone(),
            table: redirect.table,
            table_name: config
                .table(redirect.table)
                .map(|t| t.name.clone())
                .unwrap_or_default(),
            servers,
            keep_port: redirect.keep_port,
            port: redirect.port,
            mode: redirect.mode,
            key,
            forward: redirect.forward.clone(),
            sticky: redirect.sticky,
            tag: redirect.tag.clone(),
            session_timeout: redirect.session_timeout,
            masquerade: redirect.masquerade,
            count_traffic: false,
        }
    }

    /// Hosts of the table in use that get new connections.
    pub fn usable(&self) -> impl Iterator<Item = &Server> {
        self.servers
            .iter()
            .filter(|s| s.table == self.table && s.state == ServerState::Up)
    }
}

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

/// Counters of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatistics {
    /// Redirection.
    pub id: RedirectId,
    /// Connections since the service exists.
    pub sessions: u64,
    /// Connections per host.
    pub hosts: Vec<(HostId, u64)>,
    /// Packets and bytes per host, where they are counted.
    pub traffic: Vec<(HostId, Traffic)>,
}

/// Packets and bytes of a host's connections, IP headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
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

    /// New sessions that relay processes counted since the last call; only `userland` needs them.
    fn count(&mut self, sessions: &[(RedirectId, HostId, u64)]) {
        let _ = sessions;
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
