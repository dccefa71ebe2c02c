//! What pfe knows: configuration, host states, what is switched off, statistics.
//! Owns that knowledge and the questions about it.
//! Must never send, log or wait.

use crate::board::Board;
use crate::link::{Admin, RunState};
use backends::filter::{ServerState, Traffic};
use conf::Config;
use conf::model::{Check, Host, HostId, Redirect, RedirectId, RelayId, Table, TableId};
use protocols::control::statistics::{SessionCounter, TrafficCounter};
use protocols::host::{HostState, HostStatus};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// How a redirection is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Situation {
    /// Switched off.
    Disabled,
    /// No usable host.
    #[default]
    Down,
    /// By its backup table.
    Backup,
    /// By its main table.
    Main,
}

/// See the module.
#[derive(Debug, Default)]
pub struct State {
    /// Number of the configuration.
    pub generation: u64,
    /// The configuration.
    pub config: Arc<Config>,
    /// Random bytes of the daemon.
    pub seed: [u8; 16],
    /// What relay processes count together.
    pub board: Option<Rc<Board>>,
    /// How each redirection is served.
    pub situations: BTreeMap<RedirectId, Situation>,
    /// Sessions by redirection name.
    pub redirect_sessions: BTreeMap<String, SessionCounter>,
    /// Packets and bytes by redirection name, where they are counted.
    pub redirect_traffic: BTreeMap<String, TrafficCounter>,
    /// Sessions by relay name and process.
    pub relay_sessions: BTreeMap<(String, u32), SessionCounter>,
    /// Sessions of redirections by host, as the packet filter counts them.
    pub host_sessions: BTreeMap<RedirectId, Vec<(HostId, u64)>>,
    /// Packets and bytes of redirections by host, where they are counted.
    pub host_traffic: BTreeMap<RedirectId, Vec<(HostId, Traffic)>>,
    hosts: HashMap<HostId, HostStatus>,
    places: HashMap<HostId, (usize, usize)>,
    tables: HashMap<TableId, usize>,
    redirects: HashMap<RedirectId, usize>,
    /// Redirections by the tables they use.
    users: HashMap<TableId, Vec<RedirectId>>,
    /// Hosts by the host whose state they copy.
    children: HashMap<HostId, Vec<HostId>>,
    hosts_off: BTreeSet<HostId>,
    draining: BTreeSet<HostId>,
    tables_off: BTreeSet<TableId>,
    redirects_off: BTreeSet<RedirectId>,
    relays_off: BTreeSet<RelayId>,
    /// What was switched by hand, the latest change of each switch.
    by_hand: Vec<Admin>,
}

/// Whether two changes move the same switch.
fn same_switch(a: Admin, b: Admin) -> bool {
    match (a, b) {
        (Admin::Host { id: a, .. }, Admin::Host { id: b, .. })
        | (Admin::Drain { id: a, .. }, Admin::Drain { id: b, .. }) => a == b,
        (Admin::Table { id: a, .. }, Admin::Table { id: b, .. }) => a == b,
        (Admin::Redirect { id: a, .. }, Admin::Redirect { id: b, .. }) => a == b,
        (Admin::Relay { id: a, .. }, Admin::Relay { id: b, .. }) => a == b,
        _ => false,
    }
}

fn set<T: Ord>(set: &mut BTreeSet<T>, item: T, present: bool) {
    if present {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}

impl State {
    /// The knowledge under a new configuration. What `before` knew of an object with the same id and name holds on;
    /// of others `run` tells.
    pub fn new(generation: u64, config: Arc<Config>, run: &RunState, before: &State) -> State {
        let mut state = State {
            generation,
            seed: run.seed,
            board: before.board.clone(),
            ..State::default()
        };
        for (at, table) in config.tables.iter().enumerate() {
            state.tables.insert(table.id, at);
            set(&mut state.tables_off, table.id, table.disabled);
            for (place, host) in table.hosts.iter().enumerate() {
                state.places.insert(host.id, (at, place));
                if let Some(parent) = host.parent {
                    state.children.entry(parent).or_default().push(host.id);
                }
            }
        }
        for (at, redirect) in config.redirects.iter().enumerate() {
            set(&mut state.redirects_off, redirect.id, redirect.disabled);
            state.redirects.insert(redirect.id, at);
            for table in [Some(redirect.table), redirect.backup]
                .into_iter()
                .flatten()
            {
                state.users.entry(table).or_default().push(redirect.id);
            }
        }
        for relay in &config.relays {
            set(&mut state.relays_off, relay.id, relay.disabled);
        }
        state.config = config;
        for status in &run.hosts {
            state.hosts.insert(status.id, *status);
        }
        state.take_over(before);
        let by_hand = run.admin.iter().filter(|change| {
            let mut newer = before.by_hand.iter();
            !newer.any(|b| same_switch(*b, **change))
        });
        for change in by_hand {
            state.admin(*change);
        }
        let places = &state.places;
        state.hosts.retain(|id, _| places.contains_key(id));
        state
    }

    /// Keeps what `before` knew better than the parent, which hears of everything later than this process.
    fn take_over(&mut self, before: &State) {
        for (id, (_, host)) in before.all_hosts() {
            let same = self.host(id).is_some_and(|(_, new)| new.name == host.name);
            if let Some(status) = before.hosts.get(&id).filter(|_| same) {
                self.hosts.insert(id, *status);
            }
        }
        for change in &before.by_hand {
            if self.name_of(*change).is_some() && self.name_of(*change) == before.name_of(*change) {
                self.admin(*change);
            }
        }
        let config = Arc::clone(&self.config);
        self.redirect_sessions = before.redirect_sessions.clone();
        self.redirect_sessions
            .retain(|name, _| config.redirects.iter().any(|r| r.name == *name));
        self.redirect_traffic = before.redirect_traffic.clone();
        self.redirect_traffic
            .retain(|name, _| config.redirects.iter().any(|r| r.name == *name));
        self.relay_sessions = before.relay_sessions.clone();
        self.relay_sessions
            .retain(|(name, _), _| config.relays.iter().any(|r| r.name == *name));
    }

    /// Name of the object of a change, with that of its table: over a reload the same id may be another object.
    fn name_of(&self, change: Admin) -> Option<(&str, &str)> {
        match change {
            Admin::Host { id, .. } | Admin::Drain { id, .. } => self
                .host(id)
                .map(|(table, host)| (table.name.as_str(), host.name.as_str())),
            Admin::Table { id, .. } => self.table(id).map(|t| (t.name.as_str(), "")),
            Admin::Redirect { id, .. } => self.redirect(id).map(|r| (r.name.as_str(), "")),
            Admin::Relay { id, .. } => self.config.relay(id).map(|r| (r.name.as_str(), "")),
        }
    }

    fn all_hosts(&self) -> impl Iterator<Item = (HostId, (&Table, &Host))> {
        self.config
            .tables
            .iter()
            .flat_map(|table| table.hosts.iter().map(move |host| (host.id, (table, host))))
    }

    /// A table.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.config.tables.get(*self.tables.get(&id)?)
    }

    /// A redirection.
    pub fn redirect(&self, id: RedirectId) -> Option<&Redirect> {
        self.config.redirects.get(*self.redirects.get(&id)?)
    }

    /// A host and its table.
    pub fn host(&self, id: HostId) -> Option<(&Table, &Host)> {
        let (table, host) = self.places.get(&id)?;
        let table = self.config.tables.get(*table)?;
        Some((table, table.hosts.get(*host)?))
    }

    /// Status of a host; unknown if nothing was heard of it.
    pub fn status(&self, id: HostId) -> HostStatus {
        self.hosts
            .get(&id)
            .copied()
            .unwrap_or_else(|| HostStatus::unknown(id))
    }

    /// Takes over a check result; whether the host's state changed, or `None` if it is not to be believed: the host is
    /// gone, or switched off since the check began.
    pub fn update(&mut self, status: HostStatus) -> Option<bool> {
        let (table, host) = self.host(status.id)?;
        if self.table_off(table.id) || self.host_off(host) {
            return None;
        }
        let changed = self.status(status.id).state != status.state;
        self.hosts.insert(status.id, status);
        Some(changed)
    }

    /// Whether a table is switched off.
    pub fn table_off(&self, id: TableId) -> bool {
        self.tables_off.contains(&id)
    }

    /// Whether a host is switched off, by itself or with its parent.
    pub fn host_off(&self, host: &Host) -> bool {
        self.hosts_off.contains(&host.id)
            || host.parent.is_some_and(|id| self.hosts_off.contains(&id))
    }

    /// Whether a host drains, by itself or with its parent.
    pub fn host_drains(&self, host: &Host) -> bool {
        self.draining.contains(&host.id)
            || host.parent.is_some_and(|id| self.draining.contains(&id))
    }

    /// Whether a redirection is switched off.
    pub fn redirect_off(&self, id: RedirectId) -> bool {
        self.redirects_off.contains(&id)
    }

    /// Whether a relay is switched off.
    pub fn relay_off(&self, id: RelayId) -> bool {
        self.relays_off.contains(&id)
    }

    /// Whether a host of a redirection is to be checked and nothing was heard of it yet.
    pub fn unheard(&self) -> bool {
        let tables = self.config.redirects.iter();
        tables
            .flat_map(|r| [Some(r.table), r.backup])
            .flatten()
            .filter_map(|id| self.table(id))
            .filter(|table| table.check != Check::None && !self.table_off(table.id))
            .flat_map(|table| &table.hosts)
            .any(|host| !self.host_off(host) && self.status(host.id).state == HostState::Unknown)
    }

    /// What a host may get.
    pub fn server_state(&self, table: &Table, host: &Host) -> ServerState {
        if self.table_off(table.id) || self.host_off(host) {
            return ServerState::Down;
        }
        if table.check != Check::None && self.status(host.id).state != HostState::Up {
            return ServerState::Down;
        }
        if self.host_drains(host) {
            ServerState::Drain
        } else {
            ServerState::Up
        }
    }

    /// Hosts of a table that are up, draining ones included.
    pub fn up(&self, table: &Table) -> u32 {
        let up = table
            .hosts
            .iter()
            .filter(|host| self.server_state(table, host) != ServerState::Down)
            .count();
        u32::try_from(up).unwrap_or(u32::MAX)
    }

    /// What each host of a redirection's tables may get.
    pub fn servers(&self, redirect: &Redirect) -> HashMap<HostId, ServerState> {
        [Some(redirect.table), redirect.backup]
            .into_iter()
            .flatten()
            .filter_map(|id| self.table(id))
            .flat_map(|table| {
                table
                    .hosts
                    .iter()
                    .map(move |host| (host.id, self.server_state(table, host)))
            })
            .collect()
    }

    /// Takes over an administrative change; false if nothing changed.
    pub fn admin(&mut self, change: Admin) -> bool {
        let before = self.switched(change);
        if before.is_some() {
            self.by_hand.retain(|old| !same_switch(*old, change));
            self.by_hand.push(change);
        }
        match change {
            Admin::Host { id, disabled } => {
                set(&mut self.hosts_off, id, disabled);
                if before != Some(disabled) {
                    self.forget(id);
                }
            }
            Admin::Table { id, disabled } => {
                set(&mut self.tables_off, id, disabled);
                if before != Some(disabled) {
                    let hosts: Vec<HostId> = self
                        .table(id)
                        .map(|t| t.hosts.iter().map(|h| h.id).collect())
                        .unwrap_or_default();
                    for host in hosts {
                        self.hosts
                            .entry(host)
                            .and_modify(|s| s.state = HostState::Unknown);
                    }
                }
            }
            Admin::Redirect { id, disabled } => set(&mut self.redirects_off, id, disabled),
            Admin::Relay { id, disabled } => set(&mut self.relays_off, id, disabled),
            Admin::Drain { id, draining } => set(&mut self.draining, id, draining),
        }
        before.is_some_and(|before| self.switched(change) != Some(before))
    }

    /// The switch that `change` moves, as it stands now; `None` if there is no such object.
    fn switched(&self, change: Admin) -> Option<bool> {
        match change {
            Admin::Host { id, .. } => self.host(id).map(|_| self.hosts_off.contains(&id)),
            Admin::Drain { id, .. } => self.host(id).map(|_| self.draining.contains(&id)),
            Admin::Table { id, .. } => self.table(id).map(|_| self.tables_off.contains(&id)),
            Admin::Redirect { id, .. } => {
                self.redirect(id).map(|_| self.redirects_off.contains(&id))
            }
            Admin::Relay { id, .. } => self.config.relay(id).map(|_| self.relays_off.contains(&id)),
        }
    }

    /// A host and those that copy its state.
    pub fn family(&self, id: HostId) -> impl Iterator<Item = HostId> {
        let children = self.children.get(&id).into_iter().flatten();
        std::iter::once(id).chain(children.copied())
    }

    /// A host that is switched off or on again starts anew, and its children with it.
    fn forget(&mut self, id: HostId) {
        let family: Vec<HostId> = self.family(id).collect();
        for id in family {
            self.hosts.insert(id, HostStatus::unknown(id));
        }
    }

    /// Redirections that use one of `tables`; one that uses two of them comes twice.
    pub fn redirects_of(&self, tables: &BTreeSet<TableId>) -> Vec<RedirectId> {
        let users = tables.iter().filter_map(|table| self.users.get(table));
        users.flatten().copied().collect()
    }

    /// Whether something else than redirection `but` uses a table and is not switched off.
    pub fn shared(&self, table: TableId, but: RedirectId) -> bool {
        let redirect = self.config.redirects.iter().any(|r| {
            r.id != but && !self.redirect_off(r.id) && (r.table == table || r.backup == Some(table))
        });
        let relay = || {
            let mut relays = self.config.relays.iter();
            relays.any(|r| r.tables.iter().any(|t| t.table == table))
        };
        let router = || self.config.routers.iter().any(|r| r.table == table);
        redirect || relay() || router()
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
