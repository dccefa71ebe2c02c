//! Relays as the process works with them: their tables, and what is known of the hosts.
//! Owns the host states and connection counts of this process, which outlive reloads.
//! Must never be asked for by message: sessions hold it by reference, on the one thread.

use super::access::Outlet;
use super::http;
use super::queue::Spot;
use super::seat::Seat;
use crate::board::Entry;
use backends::service;
use conf::model::{Address, HashKey, HostId, LogFlags, Mode, Protocol, Queue, TableId};
use protocols::balance::{Cursor, Hosts, ramp};
use protocols::host::HostState;
use protocols::http::Sticky;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// In a second.
const MICROSECONDS: u64 = 1_000_000;

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
    /// Most connections of all processes at once.
    pub max_connections: Option<u32>,
    /// Without a check a host counts as usable.
    pub checked: bool,
    /// Name as written in the file.
    pub name: Rc<str>,
    /// Name of its table.
    pub table: Rc<str>,
    /// Its table.
    pub table_id: TableId,
}

/// What is known of a host, shared by all generations of the configuration that have it.
#[derive(Debug)]
pub(super) struct Live {
    seat: Rc<Seat>,
    state: Cell<HostState>,
    disabled: Cell<bool>,
    draining: Cell<bool>,
    connections: Cell<u32>,
    /// It was down or switched off: the next time it comes up it returns.
    away: Cell<bool>,
    /// When it came up again, while its share may still grow; microseconds of the monotonic clock.
    returned: Cell<Option<u64>>,
}

/// A host as one generation of the configuration has it.
#[derive(Debug)]
pub struct Host {
    /// As configured.
    pub parts: HostParts,
    live: Rc<Live>,
}

impl Host {
    /// A host of which nothing is known yet.
    pub fn new(parts: HostParts, seat: &Rc<Seat>) -> Self {
        Host {
            parts,
            live: Rc::new(Live {
                seat: Rc::clone(seat),
                state: Cell::default(),
                disabled: Cell::new(false),
                draining: Cell::new(false),
                connections: Cell::new(0),
                away: Cell::new(false),
                returned: Cell::new(None),
            }),
        }
    }

    /// The same host under another configuration: its state and its connections go on.
    pub fn changed(&self, parts: HostParts) -> Self {
        Host {
            parts,
            live: Rc::clone(&self.live),
        }
    }

    /// Whether `other` is this host, maybe of another generation.
    pub(super) fn same(&self, other: &Host) -> bool {
        Rc::ptr_eq(&self.live, &other.live)
    }

    /// Whether new connections may go to it.
    pub fn usable(&self) -> bool {
        self.serves() && self.room()
    }

    /// Whether new connections may go to it as soon as it has room.
    pub fn serves(&self) -> bool {
        !self.live.disabled.get()
            && !self.live.draining.get()
            && (!self.parts.checked || self.live.state.get() == HostState::Up)
    }

    /// Whether it has room for one more connection.
    fn room(&self) -> bool {
        self.parts.max_connections.is_none_or(|max| {
            let id = self.parts.id;
            self.connections() < self.live.seat.limit(id, max)
        })
    }

    /// Whether what goes there already may go on.
    pub fn alive(&self) -> bool {
        !self.live.disabled.get()
            && (!self.parts.checked || self.live.state.get() != HostState::Down)
    }

    /// State by the last check.
    pub fn state(&self) -> HostState {
        self.live.state.get()
    }

    /// Takes over a state.
    pub(super) fn set_state(&self, state: HostState) {
        let live = &self.live;
        let before = live.state.replace(state);
        match state {
            HostState::Down => live.away.set(true),
            HostState::Up if live.away.take() => {
                let now = service::monotonic();
                live.returned.set(Some(now));
                let second = u32::try_from(now / MICROSECONDS).unwrap_or(u32::MAX);
                live.seat.returned(self.parts.id, second);
            }
            _ => {}
        }
        if before != state {
            self.switched();
        }
    }

    /// Takes over a state that others knew already before this process began.
    pub(super) fn restore_state(&self, state: HostState) {
        let live = &self.live;
        live.state.set(state);
        live.away.set(state == HostState::Down);
        let second = live.seat.returned_at(self.parts.id);
        live.returned
            .set(second.map(|second| u64::from(second) * MICROSECONDS));
    }

    /// Somebody switched it off or on: its state is to be found out anew.
    pub(super) fn set_disabled(&self, disabled: bool) {
        self.live.disabled.set(disabled);
        self.live.state.set(HostState::Unknown);
        self.live.away.set(true);
        self.switched();
    }

    /// Somebody switched its table off or on.
    pub(super) fn set_disabled_table(&self) {
        self.set_disabled(self.live.disabled.get());
    }

    /// Somebody wants it to get no new connections, or to get them again.
    pub(super) fn set_draining(&self, draining: bool) {
        self.live.draining.set(draining);
        self.switched();
    }

    /// It serves or does no longer: who waits for its table is to be looked at.
    fn switched(&self) {
        self.live.seat.freed(self.parts.table_id, Spot::All);
    }

    /// Who waits for it is to be looked at.
    fn may_have_room(&self) {
        let parts = &self.parts;
        self.live.seat.freed(parts.table_id, Spot::Host(parts.id));
    }

    /// How long it has been up again, while that is less than `slow`.
    fn starting(&self, slow: Duration) -> Option<Duration> {
        let since = self.live.returned.get()?;
        let elapsed = Duration::from_micros(service::monotonic().saturating_sub(since));
        if elapsed >= slow {
            self.live.returned.set(None);
            return None;
        }
        Some(elapsed)
    }

    /// Open connections of all relay processes.
    pub fn connections(&self) -> u32 {
        let own = self.live.connections.get();
        self.live.seat.connections(self.parts.id, own)
    }

    /// Table and name, for access logs.
    pub fn names(&self) -> (&str, &str) {
        (&self.parts.table, &self.parts.name)
    }

    /// Open connections of this process.
    pub fn own_connections(&self) -> u32 {
        self.live.connections.get()
    }
}

/// Counts one connection to a host while it lives.
#[derive(Debug)]
pub struct HostGuard {
    host: Rc<Host>,
}

impl HostGuard {
    /// Counts a connection, if the host has room for one.
    pub fn claim(host: &Rc<Host>) -> Option<Self> {
        let live = &host.live;
        let own = live.connections.get();
        let max = host.parts.max_connections;
        match live.seat.connect(host.parts.id, own, max) {
            Entry::Entered => {
                live.connections.set(own.saturating_add(1));
                Some(HostGuard {
                    host: Rc::clone(host),
                })
            }
            Entry::Full => None,
            Entry::Yielded => {
                host.may_have_room();
                None
            }
        }
    }

    /// The same for one that may not overtake those who wait for the host's table.
    pub fn claim_in_turn(host: &Rc<Host>) -> Option<Self> {
        if host.live.seat.waiting(host.parts.table_id) > 0 {
            return None;
        }
        HostGuard::claim(host)
    }

    /// The host.
    pub fn host(&self) -> &Rc<Host> {
        &self.host
    }

    /// Whether its host takes only so many connections.
    pub fn limited(&self) -> bool {
        self.host.parts.max_connections.is_some()
    }
}

impl Drop for HostGuard {
    fn drop(&mut self) {
        let live = &self.host.live;
        live.connections
            .set(live.connections.get().saturating_sub(1));
        live.seat.closed(self.host.parts.id);
        if self.limited() {
            self.host.may_have_room();
        }
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
    /// Time in which the share of a host that is up again grows.
    pub(super) slow_start: Option<Duration>,
    /// Room for sessions while all hosts are full.
    pub(super) queue: Option<Queue>,
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
            slow_start: None,
            queue: None,
            hosts,
        }
    }

    /// Whether a connection may go there: a host that is up, or is not checked, and has room.
    pub fn usable(&self) -> bool {
        !self.disabled.get() && self.hosts.iter().any(|h| h.usable())
    }

    /// Its host with this id.
    pub fn host(&self, id: HostId) -> Option<&Rc<Host>> {
        self.hosts.iter().find(|host| host.parts.id == id)
    }

    /// Whether one may go there as soon as there is room.
    pub fn serves(&self) -> bool {
        !self.disabled.get() && self.hosts.iter().any(|h| h.serves())
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

    fn share(&self, index: usize) -> u32 {
        let weight = self.weight(index);
        let Some(slow) = self.table.slow_start else {
            return weight;
        };
        let host = self.table.hosts.get(index);
        let elapsed = host.and_then(|host| host.starting(slow)).unwrap_or(slow);
        ramp(weight, elapsed, slow)
    }

    fn connections(&self, index: usize) -> u32 {
        self.table.hosts.get(index).map_or(0, |h| h.connections())
    }

    fn even(&self) -> bool {
        self.table.even
    }

    fn level(&self) -> bool {
        let grows = |slow| self.table.hosts.iter().any(|h| h.starting(slow).is_some());
        self.even() && !self.table.slow_start.is_some_and(grows)
    }
}

/// A table as one relay uses it.
#[derive(Debug)]
pub struct RelayTable {
    /// The table.
    pub table: Rc<Table>,
    /// How hosts are chosen.
    pub mode: Mode,
    /// How clients come back to their host.
    pub sticky: Option<Sticky>,
    /// Where round-robin goes on.
    pub cursor: RefCell<Cursor>,
}

/// What a relay is that stands for a redirection served in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirected {
    /// The redirection.
    pub id: conf::model::RedirectId,
    /// Its bytes are counted.
    pub count_traffic: bool,
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
