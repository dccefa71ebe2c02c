//! What the `show` commands list: the original's objects in the original's order, and ours for JSON.
//! Owns the translation of state into records.
//! Must never change anything.

use super::counts;
use super::state::{Situation, State};
use crate::link::SessionInfo;
use conf::limits;
use conf::model::{self, Check, Host, HostId, Redirect, RedirectId, Relay, Router, Table, TableId};
use protocols::control::extension::{Answer, Object, Share, Topic, Traffic};
use protocols::control::record::{
    HostRecord, RedirectRecord, RelayRecord, RouteRecord, RouterRecord, SessionRecord,
    StatisticsRecord, TableRecord,
};
use protocols::control::statistics::TrafficCounter;
use protocols::control::{Reply, flags, rows};
use protocols::log::id::{RequestId, SessionId};
use std::collections::HashMap;
use std::time::Duration;

fn bit(on: bool, flag: u32) -> u32 {
    if on { flag } else { 0 }
}

fn interval() -> u64 {
    limits::STATISTICS_INTERVAL.as_secs()
}

/// `show summary`, `hosts`, `redirects`, `relays`, `routers`: the client picks.
pub fn summary(state: &State) -> Vec<Reply> {
    let mut out = Vec::new();
    for redirect in &state.config.redirects {
        out.push(Reply::Redirect(redirect_record(state, redirect)));
        if state.redirect_off(redirect.id) {
            continue;
        }
        let statistics = redirect_statistics(state, redirect);
        let traffic = state.redirect_traffic.get(&redirect.name);
        let traffic = traffic.map(TrafficCounter::record);
        out.push(Reply::RedirectStatistics(statistics, traffic));
        table_replies(state, redirect.table, Some(redirect.id), &mut out);
        if let Some(backup) = redirect.backup {
            table_replies(state, backup, Some(redirect.id), &mut out);
        }
    }
    for relay in &state.config.relays {
        out.push(Reply::Relay(relay_record(state, relay)));
        out.push(Reply::RelayStatistics(relay_statistics(state, relay)));
        for table in &relay.tables {
            table_replies(state, table.table, None, &mut out);
        }
    }
    for router in &state.config.routers {
        router_replies(state, router, &mut out);
    }
    out.push(Reply::End);
    out
}

fn redirect_bits(state: &State, redirect: &Redirect) -> u32 {
    let situation = state.situations.get(&redirect.id).copied();
    let situation = situation.unwrap_or_default();
    let serving = matches!(situation, Situation::Main | Situation::Backup);
    flags::USED
        | bit(state.redirect_off(redirect.id), flags::DISABLE)
        | bit(situation == Situation::Down, flags::DOWN)
        | bit(situation == Situation::Backup, flags::BACKUP)
        | bit(serving, flags::ACTIVE_RULESET)
        | bit(redirect.sticky, flags::STICKY)
}

fn redirect_record(state: &State, redirect: &Redirect) -> RedirectRecord {
    RedirectRecord {
        id: redirect.id.0,
        flags: redirect_bits(state, redirect),
        port: redirect.listeners.first().map_or(0, |l| l.port),
        table: redirect.table.0,
        backup: redirect.backup.map_or(0, |id| id.0),
        name: redirect.name.clone(),
        tag: redirect
            .tag
            .as_ref()
            .map_or_else(String::new, |t| t.name.clone()),
        timeout: redirect.session_timeout,
    }
}

fn redirect_statistics(state: &State, redirect: &Redirect) -> StatisticsRecord {
    let counter = state.redirect_sessions.get(&redirect.name).copied();
    counter
        .unwrap_or_default()
        .record(redirect.id.0, 0, interval())
}

/// One entry for each relay process.
fn relay_statistics(state: &State, relay: &Relay) -> Vec<StatisticsRecord> {
    (0..state.config.globals.prefork.max(1))
        .map(|process| {
            let key = (relay.name.clone(), process);
            let counter = state.relay_sessions.get(&key).copied().unwrap_or_default();
            let process = i32::try_from(process).unwrap_or(i32::MAX);
            counter.record(relay.id.0, process, interval())
        })
        .collect()
}

fn table_replies(state: &State, id: TableId, redirect: Option<RedirectId>, out: &mut Vec<Reply>) {
    let Some(table) = state.table(id) else {
        return;
    };
    out.push(Reply::Table(TableRecord {
        redirect: redirect.map_or(0, |id| id.0),
        ..table_record(state, table)
    }));
    if state.table_off(id) {
        return;
    }
    let hosts = table.hosts.iter();
    out.extend(hosts.map(|host| Reply::Host(host_record(state, table, host))));
}

fn table_bits(state: &State, table: &Table) -> u32 {
    flags::USED
        | bit(state.table_off(table.id), flags::DISABLE)
        | bit(table.demote.is_some(), flags::DEMOTE)
}

fn up(state: &State, table: &Table) -> i32 {
    i32::try_from(state.up(table)).unwrap_or(i32::MAX)
}

fn table_record(state: &State, table: &Table) -> TableRecord {
    TableRecord {
        id: table.id.0,
        redirect: 0,
        flags: table_bits(state, table),
        check: match table.check {
            Check::None => 0,
            Check::Icmp => 1,
            Check::Tcp { .. } => 2,
            Check::HttpCode { .. } => 3,
            Check::HttpDigest { .. } => 4,
            Check::Binary { .. } => 5,
            Check::SendExpect { .. } => 6,
            Check::Script { .. } => 7,
        },
        demote: table.demote.clone().unwrap_or_default(),
        timeout: table.timeout,
        port: table.port,
        name: table.name.clone(),
        up: up(state, table),
    }
}

fn host_record(state: &State, table: &Table, host: &Host) -> HostRecord {
    let status = state.status(host.id);
    HostRecord {
        id: host.id.0,
        parent: host.parent.map_or(0, |id| id.0),
        table: table.id.0,
        retry: i32::try_from(host.retry).unwrap_or(i32::MAX),
        name: host.name.clone(),
        address: Some(host.address.with_port(table.port)),
        ttl: host.ip_ttl.into(),
        priority: host.priority.into(),
        flags: bit(state.host_off(host), flags::DISABLE),
        up: status.state.number(),
        checks: status.checks,
        ups: status.ups,
        retries: status.retries,
        reason: status.reason.number(),
        http_code: status.http_code.into(),
    }
}

fn relay_bits(state: &State, relay: &Relay) -> u32 {
    flags::USED
        | bit(state.relay_off(relay.id), flags::DISABLE)
        | bit(relay.listen.tls, flags::TLS)
        | bit(relay.tls_client, flags::TLS_CLIENT)
}

fn relay_record(state: &State, relay: &Relay) -> RelayRecord {
    let tables = relay.tables.iter();
    let target = match relay.target {
        model::Target::Address { address, port } => Some((address, port)),
        model::Target::NatLookup(other) | model::Target::Destination(other) => other,
        model::Target::Tables => None,
    };
    RelayRecord {
        id: relay.id.0,
        flags: relay_bits(state, relay),
        protocol: relay.protocol.0,
        name: relay.name.clone(),
        listen: Some(relay.listen.address.with_port(relay.listen.port)),
        target: target.map(|(address, port)| address.with_port(port)),
        retry: i32::try_from(relay.retry).unwrap_or(i32::MAX),
        timeout: relay.session_timeout,
        up: tables
            .filter_map(|t| state.table(t.table))
            .map(|t| up(state, t))
            .fold(0, i32::saturating_add),
    }
}

fn router_bits(router: &Router) -> u32 {
    flags::USED | bit(router.disabled, flags::DISABLE)
}

fn router_replies(state: &State, router: &Router, out: &mut Vec<Reply>) {
    out.push(Reply::Router(RouterRecord {
        id: router.id.0,
        flags: router_bits(router),
        name: router.name.clone(),
        label: router.label.clone().unwrap_or_default(),
        routes: i32::try_from(router.routes.len()).unwrap_or(i32::MAX),
        table: router.table.0,
        port: state.table(router.table).map_or(0, |t| t.port),
        rtable: i32::try_from(router.rtable).unwrap_or(i32::MAX),
    }));
    if router.disabled {
        return;
    }
    out.extend(router.routes.iter().map(|route| {
        Reply::Route(RouteRecord {
            id: route.id.0,
            address: Some(route.network.ip()),
            prefix: route.network.prefix().into(),
            router: router.id.0,
        })
    }));
    table_replies(state, router.table, None, out);
}

/// `show sessions`; `now` is the system's monotonic clock, which relayctl subtracts from.
pub fn sessions(sessions: &[SessionInfo], now: Duration) -> Vec<Reply> {
    let record = |s: &SessionInfo| {
        Reply::Session(SessionRecord {
            id: u32::try_from(s.id).unwrap_or(u32::MAX),
            relay: s.relay.0,
            client: Some(s.client),
            server: s.server,
            started: now.saturating_sub(s.age),
            last: now.saturating_sub(s.idle),
            done: s.done,
            tag: s.tag,
            pid: s.pid,
        })
    };
    let sessions = sessions.iter().map(record);
    sessions.chain(std::iter::once(Reply::End)).collect()
}

/// The same for `relayctl -j show sessions`.
pub fn session_objects(sessions: &[SessionInfo]) -> Vec<Reply> {
    let name = |s: &SessionInfo| SessionId {
        process: s.process,
        number: s.id,
    };
    let objects = sessions.iter().map(|s| Object::Session {
        session: name(s).to_string(),
        request: (s.requests > 0).then(|| {
            let request = RequestId {
                session: name(s),
                number: s.requests,
            };
            request.to_string()
        }),
        id: u32::try_from(s.id).unwrap_or(u32::MAX),
        pid: s.pid,
        relay: s.relay.0,
        client: s.client.to_string(),
        server: s.server.map(|a| a.to_string()),
        age: s.age.as_secs(),
        idle: s.idle.as_secs(),
        tag: s.tag,
        done: s.done,
    });
    replies(objects)
}

fn replies(objects: impl Iterator<Item = Object>) -> Vec<Reply> {
    objects
        .map(|o| Reply::Extension(Answer::Object(Box::new(o))))
        .chain(std::iter::once(Reply::End))
        .collect()
}

/// The objects of `relayctl -j show`, each once.
pub fn objects(state: &State, topic: Topic) -> Vec<Reply> {
    let is = |wanted| topic == wanted || topic == Topic::Summary;
    let config = &state.config;
    let mut out = Vec::new();
    if is(Topic::Redirects) {
        out.extend(config.redirects.iter().map(|r| redirect_object(state, r)));
    }
    if is(Topic::Relays) {
        out.extend(config.relays.iter().map(|r| relay_object(state, r)));
    }
    if is(Topic::Routers) {
        out.extend(config.routers.iter().map(router_object));
    }
    if is(Topic::Hosts) {
        out.extend(config.tables.iter().map(|t| table_object(state, t)));
        for table in &config.tables {
            let hosts = table.hosts.iter();
            out.extend(hosts.map(|host| host_object(state, table, host)));
        }
    }
    replies(out.into_iter())
}

fn redirect_object(state: &State, redirect: &Redirect) -> Object {
    let situation = state.situations.get(&redirect.id).copied();
    Object::Redirect {
        id: redirect.id.0,
        name: redirect.name.clone(),
        status: rows::redirect_status(redirect_bits(state, redirect)).to_owned(),
        disabled: state.redirect_off(redirect.id),
        listen: redirect
            .listeners
            .iter()
            .map(|l| {
                let protocol = if l.ip_protocol == 17 { "udp" } else { "tcp" };
                let address = l.address.with_port(l.port);
                if l.port == l.port_end {
                    format!("{protocol} {address}")
                } else {
                    format!("{protocol} {address}-{}", l.port_end)
                }
            })
            .collect(),
        table: redirect.table.0,
        backup: redirect.backup.map(|id| id.0),
        active_table: match situation.unwrap_or_default() {
            Situation::Main => Some(redirect.table.0),
            Situation::Backup => redirect.backup.map(|id| id.0),
            _ => None,
        },
        mode: redirect.mode.keyword().to_owned(),
        statistics: redirect_statistics(state, redirect).into(),
        shares: shares(state, redirect.id),
    }
}

fn shares(state: &State, id: RedirectId) -> Vec<Share> {
    let traffic = state.host_traffic.get(&id).into_iter().flatten();
    let traffic: HashMap<HostId, Traffic> = traffic
        .map(|(host, t)| (*host, counts::shown(*t)))
        .collect();
    let hosts = state.host_sessions.get(&id).into_iter().flatten();
    let share = |(host, sessions): &(HostId, u64)| Share {
        host: host.0,
        sessions: *sessions,
        traffic: traffic.get(host).copied(),
    };
    hosts.map(share).collect()
}

fn relay_object(state: &State, relay: &Relay) -> Object {
    Object::Relay {
        id: relay.id.0,
        name: relay.name.clone(),
        status: rows::plain_status(relay_bits(state, relay)).to_owned(),
        disabled: state.relay_off(relay.id),
        listen: relay
            .listen
            .address
            .with_port(relay.listen.port)
            .to_string(),
        protocol: state
            .config
            .protocol(relay.protocol)
            .map(|p| p.name.clone())
            .unwrap_or_default(),
        tables: relay.tables.iter().map(|t| t.table.0).collect(),
        statistics: StatisticsRecord::sum(&relay_statistics(state, relay)).into(),
    }
}

fn router_object(router: &Router) -> Object {
    Object::Router {
        id: router.id.0,
        name: router.name.clone(),
        status: rows::plain_status(router_bits(router)).to_owned(),
        disabled: router.disabled,
        table: router.table.0,
        routes: router
            .routes
            .iter()
            .map(|r| r.network.to_string())
            .collect(),
        rtable: router.rtable,
        label: router.label.clone(),
    }
}

fn table_object(state: &State, table: &Table) -> Object {
    Object::Table {
        id: table.id.0,
        name: table.name.clone(),
        status: rows::table_status(table_bits(state, table), up(state, table)),
        disabled: state.table_off(table.id),
        check: table.check.name().to_owned(),
        up: state.up(table),
        waiting: state.board.as_ref().map_or(0, |b| b.waiting(table.id)),
        queue: table.queue.map(|queue| queue.length),
        hosts: u32::try_from(table.hosts.len()).unwrap_or(u32::MAX),
    }
}

fn host_object(state: &State, table: &Table, host: &Host) -> Object {
    let status = state.status(host.id);
    let off = state.host_off(host) || state.table_off(table.id);
    Object::Host {
        id: host.id.0,
        name: host.name.clone(),
        table: table.id.0,
        parent: host.parent.map(|HostId(id)| id),
        address: host.address.with_port(table.port).to_string(),
        status: rows::host_status(bit(off, flags::DISABLE), status.state.number()).to_owned(),
        disabled: off,
        draining: state.host_drains(host),
        weight: host.weight,
        connections: state
            .board
            .as_ref()
            .map_or(0, |board| board.connections(host.id)),
        max_connections: host.max_connections,
        availability: (status.checks > 0).then(|| status.availability()),
        checks: status.checks,
        ups: status.ups,
        retries: status.retries,
        reason: status.reason.text().to_owned(),
        http_code: (status.http_code > 0).then_some(status.http_code),
        latency_ms: status.latency_ms,
    }
}
