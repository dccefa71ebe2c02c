//! The desired state of the packet filter: services and their hosts.
//! Owns how a configuration becomes one, and how one service in it is replaced.
//! Must never contain anything of one particular packet filter.

use super::Relayed;
use conf::model::{
    Address, Config, Forward, HashKey, HostId, Mode, PfTag, Redirect, RedirectId, TableId,
    VirtualAddress,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

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

impl Ruleset {
    /// Puts in `service` for the one of its redirection; answers the one that was there. `None`: nothing is done, since
    /// there was none of this id and name.
    pub fn replace(&mut self, service: &Arc<Service>) -> Option<Arc<Service>> {
        let place = self.place(service)?;
        let place = self.services.get_mut(place)?;
        Some(std::mem::replace(place, Arc::clone(service)))
    }

    /// The service of the same redirection.
    pub fn counterpart(&self, service: &Service) -> Option<&Arc<Service>> {
        self.services.get(self.place(service)?)
    }

    fn place(&self, service: &Service) -> Option<usize> {
        let place = self.services.binary_search_by_key(&service.id, |s| s.id);
        let place = place.ok()?;
        let same = |s: &Arc<Service>| s.name == service.name;
        self.services.get(place).is_some_and(same).then_some(place)
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
