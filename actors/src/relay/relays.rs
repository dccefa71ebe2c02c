//! Relays as the process works with them: their tables, and what is known of the hosts.
//! Owns the host states and connection counts of this process, which outlive reloads.
//! Must never be asked for by message: sessions hold it by reference, on the one thread.

use super::access::Outlet;
use super::http;
use conf::model::{Address, HashKey, HostId, LogFlags, Mode, Protocol, TableId};
use protocols::balance::{Cursor, Hosts};
use protocols::host::HostState;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

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
    /// Name, for access logs.
    pub name: Rc<str>,
    /// Name of its table.
    pub table: Rc<str>,
}

/// A host, shared by all generations of the configuration that have it.
#[derive(Debug)]
pub struct Host {
    /// As configured.
    pub parts: HostParts,
    pub(super) state: Cell<HostState>,
    pub(super) disabled: Cell<bool>,
    pub(super) draining: Cell<bool>,
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

    /// Table and name, for access logs.
    pub fn names(&self) -> (&str, &str) {
        (&self.parts.table, &self.parts.name)
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
    pub(super) disabled: Cell<bool>,
    pub(super) even: bool,
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
    /// Where its access log goes, once it was needed.
    pub outlet: OnceCell<Rc<Outlet>>,
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

/// Whether all hosts have the same share.
pub(super) fn even(hosts: &[Rc<Host>]) -> bool {
    hosts.windows(2).all(|w| match w {
        [a, b] => a.parts.weight == b.parts.weight,
        _ => true,
    })
}
