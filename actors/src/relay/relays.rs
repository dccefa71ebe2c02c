//! A configuration as the relay process works with it: relays, their tables, and what is known of the hosts.
//! Owns the host states and connection counts of this process, which outlive reloads.
//! Must never be asked for by message: sessions hold it by reference, on the one thread.

use super::http;
use crate::link::{Admin, RunState};
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

/// What the configuration says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostParts {
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
    pub checked: bool,
}

/// A host, shared by all generations of the configuration that have it.
#[derive(Debug)]
pub struct Host {
    /// As configured.
    pub parts: HostParts,
    state: Cell<HostState>,
    disabled: Cell<bool>,
    draining: Cell<bool>,
    connections: Cell<u32>,
}

impl Host {
    /// A host of which nothing is known yet.
    pub fn new(parts: HostParts) -> Self {
        Host {
            parts,
            state: Cell::default(),
            disabled: Cell::new(false),
            draining: Cell::new(false),
            connections: Cell::new(0),
        }
    }

    /// Whether new connections may go to it.
    pub fn usable(&self) -> bool {
        self.alive_for_new()
            && self
                .parts
                .max_connections
                .is_none_or(|max| self.connections.get() < max)
    }

    fn alive_for_new(&self) -> bool {
        !self.disabled.get()
            && !self.draining.get()
            && (!self.parts.checked || self.state.get() == HostState::Up)
    }

    /// Whether what goes there already may go on.
    pub fn alive(&self) -> bool {
        !self.disabled.get() && (!self.parts.checked || self.state.get() != HostState::Down)
    }

    /// State by the last check.
    pub fn state(&self) -> HostState {
        self.state.get()
    }

    /// Takes over a state.
    pub(super) fn set_state(&self, state: HostState) {
        self.state.set(state);
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
    /// A table whose hosts are checked.
    pub(super) fn new(id: TableId, name: &str, port: u16, hosts: Vec<Rc<Host>>) -> Self {
        Table {
            id,
            name: name.to_owned(),
            template: name.to_owned(),
            port,
            checked: true,
            disabled: Cell::new(false),
            even: even(&hosts),
            hosts,
        }
    }

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
            .is_some_and(|h| h.usable() && !self.tried.contains(&h.parts.id))
    }

    fn weight(&self, index: usize) -> u32 {
        self.table
            .hosts
            .get(index)
            .map_or(1, |h| u32::from(h.parts.weight))
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

/// What a relay is that stands for a redirection served in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirected {
    /// The redirection.
    pub id: conf::model::RedirectId,
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
    /// It is a redirection: its sessions are neither listed nor logged, as a packet filter's are not.
    pub redirect: Option<Redirected>,
}

impl Relay {
    /// Counts a session that begins.
    pub fn count_session(&self) {
        self.sessions.set(self.sessions.get() + 1);
    }

    /// Whether a listener of `other` can go on serving this relay.
    pub(super) fn same_listener(&self, other: &Relay) -> bool {
        let address = |r: &Relay| (r.config.listen.address, r.config.listen.port);
        self.config.name == other.config.name
            && address(self) == address(other)
            && self.protocol.kind.datagrams() == other.protocol.kind.datagrams()
    }

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
    /// Services served in user space, as known when it was staged.
    pub forwarding: Vec<backends::filter::Service>,
    /// Relays by id.
    pub relays: HashMap<RelayId, Rc<Relay>>,
    tables: HashMap<TableId, Rc<Table>>,
    hosts: HashMap<HostId, Rc<Host>>,
}

impl Generation {
    /// Prepares `config`. What `before` has unchanged is taken over as it is: hosts with state and counts, tables and
    /// relays with their sessions. What is new begins with what `state` knows.
    ///
    /// # Errors
    /// A sentence that names the object that cannot be served.
    pub fn new(
        number: u64,
        config: Arc<Config>,
        state: &RunState,
        before: &Generation,
    ) -> Result<Self, String> {
        let mut generation = Generation {
            number,
            forwarding: state.forwarding.clone(),
            ..Generation::default()
        };
        let prefork = config.globals.prefork.max(1);
        for table in &config.tables {
            let table = generation.table(table, prefork, before);
            generation.tables.insert(table.id, table);
        }
        for relay in &config.relays {
            let relay = generation.relay(&config, relay, &state.seed, before)?;
            generation.relays.insert(relay.config.id, relay);
        }
        generation.config = config;
        generation.restore(state, before);
        Ok(generation)
    }

    /// What was known of objects that `before` does not have.
    fn restore(&self, state: &RunState, before: &Generation) {
        for change in &state.admin {
            let known = match *change {
                Admin::Host { id, .. } | Admin::Drain { id, .. } => {
                    same(&self.hosts, &before.hosts, &id)
                }
                Admin::Table { id, .. } => same(&self.tables, &before.tables, &id),
                Admin::Relay { id, .. } => same(&self.relays, &before.relays, &id),
                Admin::Redirect { .. } => true,
            };
            if !known {
                self.admin(*change);
            }
        }
        for status in &state.hosts {
            if !before.hosts.contains_key(&status.id) {
                self.host_status(std::slice::from_ref(status));
            }
        }
    }

    fn table(
        &mut self,
        table: &conf::model::Table,
        prefork: u32,
        before: &Generation,
    ) -> Rc<Table> {
        let hosts: Vec<_> = table
            .hosts
            .iter()
            .map(|host| self.host_of(table, host, prefork, before))
            .collect();
        let unchanged = before.tables.get(&table.id).filter(|old| {
            before.config.table(table.id) == Some(table)
                && old.hosts.len() == hosts.len()
                && old.hosts.iter().zip(&hosts).all(|(a, b)| Rc::ptr_eq(a, b))
        });
        if let Some(old) = unchanged {
            return Rc::clone(old);
        }
        Rc::new(Table {
            id: table.id,
            name: table.name.clone(),
            template: table.template.clone(),
            port: table.port,
            checked: table.check != conf::model::Check::None,
            even: even(&hosts),
            disabled: Cell::new(table.disabled),
            hosts,
        })
    }

    fn host_of(
        &mut self,
        table: &conf::model::Table,
        host: &conf::model::Host,
        prefork: u32,
        before: &Generation,
    ) -> Rc<Host> {
        let parts = HostParts {
            id: host.id,
            address: host.address,
            retry: host.retry,
            weight: host.weight,
            max_connections: host.max_connections.map(|max| max.div_ceil(prefork)),
            checked: table.check != conf::model::Check::None,
        };
        let known = before
            .hosts
            .get(&host.id)
            .filter(|old| old.parts.address == host.address);
        let kept = match known {
            Some(old) if old.parts == parts => Rc::clone(old),
            _ => {
                let new = Host::new(parts);
                if let Some(old) = known {
                    new.state.set(old.state.get());
                    new.disabled.set(old.disabled.get());
                    new.draining.set(old.draining.get());
                }
                Rc::new(new)
            }
        };
        self.hosts.insert(host.id, Rc::clone(&kept));
        kept
    }

    fn relay(
        &self,
        config: &Config,
        relay: &conf::model::Relay,
        seed: &[u8; 16],
        before: &Generation,
    ) -> Result<Rc<Relay>, String> {
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
        let old = before.relays.get(&relay.id);
        let unchanged = old.filter(|old| {
            old.config == *relay
                && old.protocol == protocol
                && old.log == config.globals.log
                && old.tables.len() == tables.len()
                && old
                    .tables
                    .iter()
                    .zip(&tables)
                    .all(|(a, b)| Rc::ptr_eq(&a.table, &b.table))
        });
        if let Some(old) = unchanged {
            return Ok(Rc::clone(old));
        }
        let http = match protocol.kind {
            ProtocolKind::Http => Some(
                http::compile(relay, &protocol)
                    .map_err(|e| format!("relay {}: {e}", relay.name))?,
            ),
            _ => None,
        };
        Ok(Rc::new(Relay {
            key: relay.key.unwrap_or_else(|| derive_key(seed, &relay.block)),
            log: config.globals.log,
            disabled: Cell::new(relay.disabled),
            sessions: Cell::new(old.map_or(0, |r| r.sessions.get())),
            config: relay.clone(),
            protocol,
            tables,
            http,
            redirect: None,
        }))
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
    pub fn admin(&self, change: Admin) {
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
            Admin::Drain { id, draining } => {
                if let Some(host) = self.hosts.get(&id) {
                    host.draining.set(draining);
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

/// Whether the new generation uses the old one's object.
fn same<K: Eq + std::hash::Hash, T>(
    new: &HashMap<K, Rc<T>>,
    old: &HashMap<K, Rc<T>>,
    id: &K,
) -> bool {
    match (new.get(id), old.get(id)) {
        (Some(new), Some(old)) => Rc::ptr_eq(new, old),
        _ => false,
    }
}

/// Whether all hosts have the same share.
fn even(hosts: &[Rc<Host>]) -> bool {
    hosts.windows(2).all(|w| match w {
        [a, b] => a.parts.weight == b.parts.weight,
        _ => true,
    })
}
