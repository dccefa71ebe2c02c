//! Redirects served in user space: what a packet filter would do, done by relay processes.
//! Owns the translation of a redirection's desired state into a relay that sessions can use, per virtual address and port.
//! Must never decide which hosts are usable: the packet filter engine does, and publishes it.

use super::context::Context;
use super::relays::{Host, HostParts, Redirected, Relay, RelayTable, Table};
use super::session::From;
use crate::link::{Message, Role, Slot, To};
use backends::filter::{Forwarded, ServerState, Service, Traffic};
use conf::model::{
    HostId, Listen, LogFlags, Mode, Protocol, ProtocolId, ProtocolKind, Redirect, RedirectId,
    RelayId, SessionMax, TableId, Target, VirtualAddress,
};
use protocols::balance::Cursor;
use protocols::host::HostState;
use protocols::log::session as words;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// All services and what they became.
#[derive(Debug, Default)]
pub struct Forwards {
    services: RefCell<HashMap<RedirectId, Service>>,
    hosts: RefCell<HashMap<(RedirectId, HostId), Rc<Host>>>,
    relays: RefCell<HashMap<Slot, Rc<Relay>>>,
    counts: RefCell<HashMap<(RedirectId, HostId), (u64, Traffic)>>,
}

impl Forwards {
    /// The relay of a listener.
    pub fn relay(&self, slot: &Slot) -> Option<Rc<Relay>> {
        self.relays.borrow().get(slot).cloned()
    }

    /// Counts a new session.
    pub fn count(&self, id: RedirectId, host: HostId) {
        let mut counts = self.counts.borrow_mut();
        let (sessions, _) = counts.entry((id, host)).or_default();
        *sessions = sessions.saturating_add(1);
    }

    /// Counts packets and bytes, where a redirection asks for it.
    pub fn moved(
        &self,
        relay: &Relay,
        host: impl FnOnce() -> Option<HostId>,
        from: From,
        packets: u64,
        bytes: u64,
    ) {
        // Asked of every read: whose bytes they are is found out only where it matters.
        let Some(redirect) = relay.redirect.filter(|r| r.count_traffic) else {
            return;
        };
        let Some(host) = host() else {
            return;
        };
        let new = match from {
            From::Client => Traffic {
                packets_in: packets,
                bytes_in: bytes,
                ..Traffic::default()
            },
            From::Server => Traffic {
                packets_out: packets,
                bytes_out: bytes,
                ..Traffic::default()
            },
        };
        let mut counts = self.counts.borrow_mut();
        let (_, traffic) = counts.entry((redirect.id, host)).or_default();
        *traffic += new;
    }

    /// Reports what was counted; a message that finds no room is made up for by the next.
    pub fn report(&self, context: &Context) {
        let mut counts = self.counts.borrow_mut();
        if counts.is_empty() {
            return;
        }
        let one = |((id, host), (sessions, traffic)): (&(RedirectId, HostId), &(u64, Traffic))| {
            Forwarded {
                id: *id,
                host: *host,
                sessions: *sessions,
                traffic: *traffic,
            }
        };
        let mut forwarded: Vec<Forwarded> = counts.iter().map(one).collect();
        forwarded.sort_unstable();
        let message = Message::ForwardingStatistics { forwarded };
        if context.link.try_send(To::All(Role::Pfe), message).is_ok() {
            counts.clear();
        }
    }

    /// Takes over a new state of all services; sessions to hosts that are down now end.
    pub fn publish(&self, context: &Context, services: Vec<Service>) {
        *self.services.borrow_mut() = services.into_iter().map(|s| (s.id, s)).collect();
        self.refresh_hosts(context);
        let slots: Vec<Slot> = self.relays.borrow().keys().cloned().collect();
        for slot in slots {
            self.refresh(context, &slot);
        }
        context.sessions.kill_where(words::ABORTED, |session| {
            session.relay.redirect.is_some()
                && session.host().is_some_and(|h| h.state() == HostState::Down)
        });
    }

    fn refresh_hosts(&self, context: &Context) {
        let seat = Rc::clone(&context.generation().seat);
        let mut hosts = self.hosts.borrow_mut();
        let mut old = std::mem::take(&mut *hosts);
        for (id, service) in self.services.borrow().iter() {
            for server in &service.servers {
                let parts = HostParts {
                    id: server.id,
                    address: server.address,
                    retry: 0,
                    weight: server.weight,
                    max_connections: server.max_connections,
                    checked: true,
                    // Redirects have no access log.
                    name: Rc::from(""),
                    table: Rc::from(""),
                    table_id: server.table,
                };
                let key = (*id, server.id);
                let host = match old.remove(&key) {
                    Some(host) if host.parts == parts => host,
                    Some(host) if host.parts.address == parts.address => {
                        Rc::new(host.changed(parts))
                    }
                    _ => Rc::new(Host::new(parts, &seat)),
                };
                host.set_state(match server.state {
                    ServerState::Up => HostState::Up,
                    // Established sessions go on.
                    ServerState::Drain => HostState::Unknown,
                    ServerState::Down => HostState::Down,
                });
                hosts.insert(key, host);
            }
        }
        // Hosts that are gone: their sessions end.
        for host in old.values() {
            host.set_state(HostState::Down);
        }
    }

    /// A listener is served from now on.
    pub fn open(&self, context: &Context, slot: &Slot) -> Option<Rc<Relay>> {
        self.refresh(context, slot);
        self.relay(slot)
    }

    /// A listener is closed.
    pub fn close(&self, slot: &Slot) {
        self.relays.borrow_mut().remove(slot);
    }

    fn refresh(&self, context: &Context, slot: &Slot) {
        let Slot::Redirect(id, index, port) = *slot else {
            return;
        };
        let generation = context.generation();
        let Some(redirect) = generation.config.redirect(id) else {
            return;
        };
        let Some(listener) = redirect.listeners.get(index as usize) else {
            return;
        };
        let services = self.services.borrow();
        let service = services.get(&id);
        let before = self.relay(slot);
        let table = service.map(|s| self.table(s, port));
        let kind = match listener.ip_protocol {
            17 => ProtocolKind::Udp,
            _ => ProtocolKind::Tcp,
        };
        let relay = Relay {
            config: as_relay(redirect, listener, port),
            protocol: Protocol::new(ProtocolId(0), "default", kind),
            key: service.map_or(conf::model::HashKey([0; 16]), |s| s.key),
            log: LogFlags::default(),
            http: None,
            outlet: OnceCell::new(),
            disabled: Cell::new(service.is_none_or(|s| !s.active)),
            sessions: Cell::new(0),
            redirect: Some(Redirected {
                id,
                count_traffic: service.is_some_and(|s| s.count_traffic),
            }),
            tables: table
                .into_iter()
                .map(|table| RelayTable {
                    cursor: RefCell::new(cursor(before.as_deref(), table.id)),
                    table: Rc::new(table),
                    mode: service.map_or(Mode::RoundRobin, mode),
                    sticky: None,
                })
                .collect(),
        };
        self.relays
            .borrow_mut()
            .insert(slot.clone(), Rc::new(relay));
    }

    /// The service's table in use, as a relay's table.
    fn table(&self, service: &Service, port: u16) -> Table {
        let servers: Vec<_> = service
            .servers
            .iter()
            .filter(|s| s.table == service.table)
            .collect();
        let hosts = self.hosts.borrow();
        let port = match servers.first() {
            Some(server) if !service.keep_port => server.port,
            _ => port,
        };
        Table::new(
            service.table,
            &service.table_name,
            port,
            servers
                .iter()
                .filter_map(|s| hosts.get(&(service.id, s.id)).cloned())
                .collect(),
        )
    }
}

/// Where round-robin goes on after a new state.
fn cursor(before: Option<&Relay>, table: TableId) -> Cursor {
    before
        .and_then(|relay| relay.tables.iter().find(|t| t.table.id == table))
        .map(|t| t.cursor.borrow().clone())
        .unwrap_or_default()
}

/// A sticky client is chosen for by its address: all processes agree without telling each other.
fn mode(service: &Service) -> Mode {
    match service.sticky {
        true => Mode::SourceHash,
        false => service.mode,
    }
}

/// A redirection's listener, as if it were written as a relay.
fn as_relay(redirect: &Redirect, listener: &VirtualAddress, port: u16) -> conf::model::Relay {
    conf::model::Relay {
        id: RelayId(0),
        name: redirect.name.clone(),
        block: redirect.name.clone(),
        disabled: false,
        listen: Listen {
            address: listener.address,
            port,
            interface: None,
            tls: false,
            proxy: false,
        },
        protocol: ProtocolId(0),
        target: Target::Tables,
        tables: Vec::new(),
        key: redirect.key,
        retry: 0,
        transparent: false,
        tls_client: false,
        translate: None,
        proxy_protocol: None,
        session_timeout: redirect.session_timeout,
        access: None,
        session_max: SessionMax::default(),
    }
}
