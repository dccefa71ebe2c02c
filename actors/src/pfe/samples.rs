//! Metrics of redirections, the packet filter and the control socket.
//! Owns how the state becomes samples, and the counters of pfe's actors.
//! Must never keep anything of the configuration: what is gone from it is gone from the next snapshot.

use super::state::{Situation, State};
use crate::link::Sample;
use crate::status::names;
use conf::model::{HostId, Redirect};
use protocols::control::extension::Statistics;
use std::cell::Cell;

/// What the actors of this process count.
#[derive(Debug, Default)]
pub struct Counters {
    /// Changes made in the packet filter.
    pub changes: Cell<u64>,
    /// Changes that it refused.
    pub errors: Cell<u64>,
    /// Control clients.
    pub clients: Cell<u64>,
    /// Control clients closed because there were too many.
    pub crowded: Cell<u64>,
    /// Monitors closed because they did not read.
    pub behind: Cell<u64>,
    /// Control clients closed because of a malformed message.
    pub malformed: Cell<u64>,
    /// Control clients closed because they did not read their answer.
    pub slow: Cell<u64>,
}

/// Counts one more.
pub fn count(cell: &Cell<u64>) {
    cell.set(cell.get().saturating_add(1));
}

/// Samples of the hosts of a redirection.
fn host_samples(state: &State, redirect: &Redirect, samples: &mut Vec<Sample>) {
    let place = |id: HostId| {
        let (table, host) = state.host(id)?;
        Some((host.name.as_str(), table.name.as_str(), host.id.to_string()))
    };
    for (host, sessions) in state.host_sessions.get(&redirect.id).into_iter().flatten() {
        if let Some((host, table, id)) = place(*host) {
            let labels = [redirect.name.as_str(), host, table, &id];
            samples.push(names::REDIRECT_HOST_SESSIONS.sample(&labels, *sessions as f64));
        }
    }
    for (host, traffic) in state.host_traffic.get(&redirect.id).into_iter().flatten() {
        let Some((host, table, id)) = place(*host) else {
            continue;
        };
        for (direction, packets, bytes) in [
            ("in", traffic.packets_in, traffic.bytes_in),
            ("out", traffic.packets_out, traffic.bytes_out),
        ] {
            let labels = [redirect.name.as_str(), host, table, &id, direction];
            samples.push(names::REDIRECT_HOST_PACKETS.sample(&labels, packets as f64));
            samples.push(names::REDIRECT_HOST_BYTES.sample(&labels, bytes as f64));
        }
    }
}

/// All samples of pfe.
pub fn samples(state: &State, counters: &Counters) -> Vec<Sample> {
    let number = |cell: &Cell<u64>| cell.get() as f64;
    let mut samples = vec![
        names::FILTER_CHANGES.sample(&[], number(&counters.changes)),
        names::FILTER_ERRORS.sample(&[], number(&counters.errors)),
        names::CONTROL_CLIENTS.sample(&[], number(&counters.clients)),
        names::CONTROL_LIMIT_HITS.sample(&["clients"], number(&counters.crowded)),
        names::CONTROL_LIMIT_HITS.sample(&["events"], number(&counters.behind)),
        names::CONTROL_LIMIT_HITS.sample(&["message"], number(&counters.malformed)),
        names::CONTROL_LIMIT_HITS.sample(&["slow"], number(&counters.slow)),
    ];
    for redirect in &state.config.redirects {
        let situation = state.situations.get(&redirect.id).copied();
        let situation = situation.unwrap_or_default();
        let up = matches!(situation, Situation::Main | Situation::Backup);
        let backup = situation == Situation::Backup;
        let off = state.redirect_off(redirect.id);
        let sessions = state.redirect_sessions.get(&redirect.name).copied();
        let sessions = Statistics::from(sessions.unwrap_or_default().record(0, 0, 0));
        let id = redirect.id.to_string();
        let labels = [redirect.name.as_str()];
        samples.extend([
            names::REDIRECT_UP.sample(&labels, f64::from(u8::from(up))),
            names::REDIRECT_BACKUP.sample(&labels, f64::from(u8::from(backup))),
            names::REDIRECT_DISABLED.sample(&labels, f64::from(u8::from(off))),
            names::REDIRECT_SESSIONS.sample(&labels, sessions.total as f64),
            names::REDIRECT_INFO.sample(&[redirect.name.as_str(), &id], 1.0),
        ]);
        for (period, last, average) in [
            ("minute", sessions.last, sessions.average),
            ("hour", sessions.last_hour, sessions.average_hour),
            ("day", sessions.last_day, sessions.average_day),
        ] {
            let labels = [redirect.name.as_str(), period];
            samples.push(names::REDIRECT_SESSIONS_LAST.sample(&labels, f64::from(last)));
            samples.push(names::REDIRECT_SESSIONS_AVERAGE.sample(&labels, f64::from(average)));
        }
        host_samples(state, redirect, &mut samples);
    }
    for relay in &state.config.relays {
        let off = f64::from(u8::from(state.relay_off(relay.id)));
        samples.push(names::RELAY_DISABLED.sample(&[relay.name.as_str()], off));
    }
    samples
}
