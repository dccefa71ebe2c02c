//! A configuration as the relay process works with it: relays, their tables, and what is known of the hosts.
//! Owns the host states and connection counts of this process, which outlive reloads.
//! Must never be asked for by message: sessions hold it by reference, on the one thread.

use super::http;
use conf::Config;
use conf::model::{
    Address, HashKey, HostId, LogFlags, Mode, Protocol, ProtocolKind, RelayId, TableId,
};
use protocols::balance::{Cursor, Hosts, derive_key};
use protocols::host::{HostState, HostStatus};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A host, shared by all generations of the configuration that have it.
#[derive(Debug)]
pub struct Host {
    /// Id.
    pub id: HostId,
    /// Address.
    pub address: Address,
    /// Immediate connect failures that are repeated.
    pub retry: u32,
    /// Share of new connections, from 1.
    pub weight: u16,
    /// Most connections of this process at once.
    pub max_connections: Option<u32>,
    /// Without a check a host counts as usable.
    checked: bool,
    state: Cell<HostState>,
    disabled: Cell<bool>,
    connections: Cell<u32>,
}

impl Host {
    /// Whether new connections may go to it.
    pub fn usable(&self) -> bool {
        !self.disabled.get()
            && (!self.checked || self.state.get() == HostState::Up)
            && self
                .max_connections
                .is_none_or(|max| self.connections.get() < max)
    }

    /// State by the last check.
    pub fn state(&self) -> HostState {
        self.state.get()
    }

    /// Open connections of this process.
    pub fn connections(&self) -> u32 {
        self.connections.get()
    }
}

/// Counts one connection to a host while it lives.
#[derive(Debug)]
pub struct HostGuard {
    host: Rc<Host>,
}

impl HostGuard {
    /// Counts a connection.
    pub fn new(host: Rc<Host>) -> Self {
        host.connections
            .set(host.connections.get().saturating_add(1));
        HostGuard { host }
    }

    /// The host.
    pub fn host(&self) -> &Rc<Host> {
        &self.host
    }
}

impl Drop for HostGuard {
    fn drop(&mut self) {
        let connections = &self.host.connections;
        connections.set(connections.get().saturating_sub(1));
    }
}

/// A table instance.
#[derive(Debug)]
pub struct Table {
    /// Id.
    pub id: TableId,
    /// `name:port`
    pub name: String,
    /// Name of the definition: what a `forward to <table>` rule says.
    pub template: String,
    /// Destination port.
    pub port: u16,
    /// Whether its hosts are checked.
    pub checked: bool,
    /// Hosts in file order.
    pub hosts: Vec<Rc<Host>>,
    disabled: Cell<bool>,
    even: bool,
}

impl Table {
    /// Whether a connection may go there: no check, or a host that is up.
    pub fn usable(&self) -> bool {
        !self.disabled.get() && self.hosts.iter().any(|h| h.usable())
    }
}

/// The hosts of a table without those already tried.
pub(super) struct Untried<'a> {
    /// The table.
    pub table: &'a Table,
    /// Hosts that failed for this connection.
    pub tried: &'a [HostId],
}

impl Hosts for Untried<'_> {
    fn len(&self) -> usize {
        self.table.hosts.len()
    }

    fn usable(&self, index: usize) -> bool {
        self.table
            .hosts
            .get(index)
            .is_some_and(|h| h.usable() && !self.tried.contains(&h.id))
    }

    fn weight(&self, index: usize) -> u32 {
        self.table
            .hosts
            .get(index)
            .map_or(1, |h| u32::from(h.weight))
    }

    fn connections(&self, index: usize) -> u32 {
        self.table.hosts.get(index).map_or(0, |h| h.connections())
    }

    fn even(&self) -> bool {
        self.table.even
    }
}

/// A table as one relay uses it.
#[derive(Debug)]
pub struct RelayTable {
    /// The table.
    pub table: Rc<Table>,
    /// How hosts are chosen.
    pub mode: Mode,
    /// Where round-robin goes on.
    pub cursor: RefCell<Cursor>,
}

/// A relay of one generation of the configuration; its sessions keep it until they end.
#[derive(Debug)]
pub struct Relay {
    /// As configured.
    pub config: conf::model::Relay,
    /// Its protocol.
    pub protocol: Protocol,
    /// Tables in file order.
    pub tables: Vec<RelayTable>,
    /// Key of the hashing modes.
    pub key: HashKey,
    /// What is logged.
    pub log: LogFlags,
    /// What the HTTP engine made of the protocol; `None` for other kinds.
    pub http: Option<http::Compiled>,
    /// Closed by hand or by the file: accept and close.
    pub disabled: Cell<bool>,
    /// Sessions since the process began, for `RelayStatistics`.
    pub sessions: Cell<u64>,
}

impl Relay {
    /// Index in [`Relay::tables`] of the table that a rule names.
    pub fn table_named(&self, template: &str) -> Option<usize> {
        self.tables
            .iter()
            .position(|t| t.table.template == template)
    }
}

/// A configuration, prepared.
#[derive(Debug, Default)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// As configured.
    pub config: Arc<Config>,
    /// Relays by id.
    pub relays: HashMap<RelayId, Rc<Relay>>,
    tables: HashMap<TableId, Rc<Table>>,
    hosts: HashMap<HostId, Rc<Host>>,
}

impl Generation {
    /// Prepares `config`; hosts that `before` has keep state and counts. `seed` makes the keys of relays without one.
    ///
    /// # Errors
    /// A sentence that names the object that cannot be served.
    pub fn new(
        number: u64,
        config: Arc<Config>,
        seed: &[u8; 16],
        before: &Generation,
    ) -> Result<Self, String> {
        let mut generation = Generation {
            number,
            ..Generation::default()
        };
        let prefork = config.globals.prefork.max(1);
        for table in &config.tables {
            let table = generation.table(table, prefork, before);
            generation.tables.insert(table.id, Rc::new(table));
        }
        for relay in &config.relays {
            let relay = generation.relay(&config, relay, seed, before)?;
            generation.relays.insert(relay.config.id, Rc::new(relay));
        }
        generation.config = config;
        Ok(generation)
    }

    fn table(&mut self, table: &conf::model::Table, prefork: u32, before: &Generation) -> Table {
        let checked = table.check != conf::model::Check::None;
        let hosts: Vec<_> = table
            .hosts
            .iter()
            .map(|h| {
                let max_connections = h.max_connections.map(|max| max.div_ceil(prefork));
                let known = before
                    .hosts
                    .get(&h.id)
                    .filter(|old| old.address == h.address);
                let kept = known.filter(|old| {
                    old.weight == h.weight
                        && old.retry == h.retry
                        && old.checked == checked
                        && old.max_connections == max_connections
                });
                let host = kept.cloned().unwrap_or_else(|| {
                    Rc::new(Host {
                        id: h.id,
                        address: h.address,
                        retry: h.retry,
                        weight: h.weight,
                        max_connections,
                        checked,
                        state: Cell::new(known.map_or(HostState::Unknown, |old| old.state.get())),
                        disabled: Cell::new(known.is_some_and(|old| old.disabled.get())),
                        connections: Cell::new(0),
                    })
                });
                self.hosts.insert(h.id, Rc::clone(&host));
                host
            })
            .collect();
        Table {
            id: table.id,
            name: table.name.clone(),
            template: table.template.clone(),
            port: table.port,
            checked,
            even: hosts.windows(2).all(|w| match w {
                [a, b] => a.weight == b.weight,
                _ => true,
            }),
            disabled: Cell::new(table.disabled),
            hosts,
        }
    }

    fn relay(
        &self,
        config: &Config,
        relay: &conf::model::Relay,
        seed: &[u8; 16],
        before: &Generation,
    ) -> Result<Relay, String> {
        let protocol = config
            .protocol(relay.protocol)
            .cloned()
            .unwrap_or_else(|| Protocol::new(relay.protocol, "default", ProtocolKind::Tcp));
        let mut tables = Vec::new();
        for used in &relay.tables {
            let table = self
                .tables
                .get(&used.table)
                .ok_or_else(|| format!("relay {}: no table {}", relay.name, used.table))?;
            tables.push(RelayTable {
                table: Rc::clone(table),
                mode: used.mode,
                cursor: RefCell::default(),
            });
        }
        let http = match protocol.kind {
            ProtocolKind::Http => Some(
                http::compile(relay, &protocol)
                    .map_err(|e| format!("relay {}: {e}", relay.name))?,
            ),
            _ => None,
        };
        Ok(Relay {
            key: relay.key.unwrap_or_else(|| derive_key(seed, &relay.block)),
            log: config.globals.log,
            disabled: Cell::new(relay.disabled),
            sessions: Cell::new(before.relays.get(&relay.id).map_or(0, |r| r.sessions.get())),
            config: relay.clone(),
            protocol,
            tables,
            http,
        })
    }

    /// Takes over results of checks.
    pub fn host_status(&self, status: &[HostStatus]) {
        for status in status {
            if let Some(host) = self.hosts.get(&status.id) {
                host.state.set(status.state);
            }
        }
    }

    /// Takes over an administrative change.
    pub fn admin(&self, change: crate::link::Admin) {
        use crate::link::Admin;
        match change {
            Admin::Host { id, disabled } => {
                if let Some(host) = self.hosts.get(&id) {
                    host.disabled.set(disabled);
                    host.state.set(HostState::Unknown);
                }
            }
            Admin::Table { id, disabled } => {
                if let Some(table) = self.tables.get(&id) {
                    table.disabled.set(disabled);
                    for host in &table.hosts {
                        host.state.set(HostState::Unknown);
                    }
                }
            }
            Admin::Relay { id, disabled } => {
                if let Some(relay) = self.relays.get(&id) {
                    relay.disabled.set(disabled);
                }
            }
            Admin::Redirect { .. } => {}
        }
    }

    /// The host `id`.
    pub fn host(&self, id: HostId) -> Option<&Rc<Host>> {
        self.hosts.get(&id)
    }
}
