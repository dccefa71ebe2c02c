//! A configuration, prepared for use: what is unchanged is taken over from the one before.
//! Owns the relays, tables and hosts of one generation by their ids.
//! Must never touch what runs until the generation is switched to.

use super::http;
use super::relays::{Host, HostParts, Relay, RelayTable, Table, even};
use super::seat::Seat;
use crate::link::{Admin, RunState};
use conf::Config;
use conf::model::{HostId, Protocol, ProtocolKind, RelayId, TableId};
use protocols::balance::derive_key;
use protocols::host::HostStatus;
use protocols::http::Sticky;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

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
    /// This process's place among the others.
    pub seat: Rc<Seat>,
    tables: HashMap<TableId, Rc<Table>>,
    hosts: HashMap<HostId, Rc<Host>>,
}

impl Generation {
    /// The configuration of a process that has none yet.
    pub fn none(seat: &Rc<Seat>) -> Self {
        Generation {
            seat: Rc::clone(seat),
            ..Generation::default()
        }
    }

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
            seat: Rc::clone(&before.seat),
            ..Generation::default()
        };
        for table in &config.tables {
            let table = generation.table(table, before);
            generation.tables.insert(table.id, table);
        }
        for relay in &config.relays {
            let relay = generation.relay(&config, relay, state, before)?;
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
                    match (self.hosts.get(&id), before.hosts.get(&id)) {
                        (Some(new), Some(old)) => new.same(old),
                        _ => false,
                    }
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
            if !before.hosts.contains_key(&status.id)
                && let Some(host) = self.hosts.get(&status.id)
            {
                host.restore_state(status.state);
            }
        }
    }

    fn table(&mut self, table: &conf::model::Table, before: &Generation) -> Rc<Table> {
        let hosts: Vec<_> = table
            .hosts
            .iter()
            .map(|host| self.host_of(table, host, before))
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
            slow_start: table.slow_start,
            queue: table.queue,
            hosts,
        })
    }

    fn host_of(
        &mut self,
        table: &conf::model::Table,
        host: &conf::model::Host,
        before: &Generation,
    ) -> Rc<Host> {
        let parts = HostParts {
            id: host.id,
            address: host.address,
            retry: host.retry,
            weight: host.weight,
            max_connections: host.max_connections,
            checked: table.check != conf::model::Check::None,
            name: Rc::from(host.name.as_str()),
            table: Rc::from(table.name.as_str()),
            table_id: table.id,
        };
        let known = before
            .hosts
            .get(&host.id)
            .filter(|old| old.parts.address == host.address);
        let kept = match known {
            Some(old) if old.parts == parts => Rc::clone(old),
            Some(old) => Rc::new(old.changed(parts)),
            None => Rc::new(Host::new(parts, &self.seat)),
        };
        self.hosts.insert(host.id, Rc::clone(&kept));
        kept
    }

    fn relay(
        &self,
        config: &Config,
        relay: &conf::model::Relay,
        state: &RunState,
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
                sticky: used
                    .cookie
                    .as_ref()
                    .and_then(|cookie| sticky(cookie, config.table(used.table)?, state)),
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
            key: relay
                .key
                .unwrap_or_else(|| derive_key(&state.seed, &relay.block)),
            log: config.globals.log,
            disabled: Cell::new(relay.disabled),
            sessions: Cell::new(old.map_or(0, |r| r.sessions.get())),
            config: relay.clone(),
            protocol,
            tables,
            http,
            outlet: OnceCell::new(),
            redirect: None,
        }))
    }

    /// Takes over results of checks.
    pub fn host_status(&self, status: &[HostStatus]) {
        for status in status {
            if let Some(host) = self.hosts.get(&status.id) {
                host.set_state(status.state);
            }
        }
    }

    /// Takes over an administrative change.
    pub fn admin(&self, change: Admin) {
        match change {
            Admin::Host { id, disabled } => {
                if let Some(host) = self.hosts.get(&id) {
                    host.set_disabled(disabled);
                }
            }
            Admin::Table { id, disabled } => {
                if let Some(table) = self.tables.get(&id) {
                    table.disabled.set(disabled);
                    for host in &table.hosts {
                        host.set_disabled_table();
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
                    host.set_draining(draining);
                }
            }
            Admin::Redirect { .. } => {}
        }
    }

    /// The table `id`.
    pub fn table_by_id(&self, id: TableId) -> Option<&Rc<Table>> {
        self.tables.get(&id)
    }

    /// The host `id`.
    pub fn host(&self, id: HostId) -> Option<&Rc<Host>> {
        self.hosts.get(&id)
    }
}

/// The cookie of a table. Without a key of its own it is the same in all relays, so that one for TLS and one without
/// send a client to the same host.
fn sticky(
    cookie: &conf::model::Cookie,
    table: &conf::model::Table,
    state: &RunState,
) -> Option<Sticky> {
    let key = cookie
        .key
        .unwrap_or_else(|| derive_key(&state.cookie_seed, &cookie.name));
    let hosts = table.hosts.iter().map(|host| host.name.as_str());
    Some(Sticky::new(&cookie.name, &key, &table.template, hosts))
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
