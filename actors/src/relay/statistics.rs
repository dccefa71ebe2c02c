//! What a relay process tells others each second.
//! Owns the form of its counters as messages and metric samples.
//! Must never count: that is [`super::counters`].

use super::clients::Limit;
use super::context::Context;
use super::counters::Lost;
use crate::link::{Message, Role, Sample, To};
use crate::status::names;
use conf::model::{RelayId, TableId};
use std::collections::{BTreeSet, HashMap};

/// What was told already.
#[derive(Debug, Default)]
pub struct Reported {
    relays: HashMap<RelayId, u64>,
}

impl Reported {
    /// Sends what is new. A message that finds no room is made up for by the next.
    pub fn send(&mut self, context: &Context) {
        let generation = context.generation();
        let mut sessions = Vec::new();
        for (id, relay) in &generation.relays {
            let total = relay.sessions.get();
            let told = self.relays.get(id).copied().unwrap_or(0);
            if total > told {
                sessions.push((*id, total - told));
            }
        }
        self.relays
            .retain(|id, _| generation.relays.contains_key(id));
        sessions.sort_unstable();
        if !sessions.is_empty() {
            let message = Message::RelayStatistics {
                sessions: sessions.clone(),
            };
            if context.link.try_send(To::All(Role::Pfe), message).is_ok() {
                for (id, new) in sessions {
                    *self.relays.entry(id).or_default() += new;
                }
            }
        }
        context.forwards.report(context);
        if context.options.metrics.is_some() {
            let message = Message::Snapshot {
                samples: samples(context),
            };
            // The next second brings all values again.
            let _ = context.link.try_send(To::All(Role::Status), message);
        }
    }
}

/// Metric samples of this process.
fn samples(context: &Context) -> Vec<Sample> {
    let process = context.me.instance.to_string();
    let process = process.as_str();
    let counters = &context.counters;
    let mut samples = Vec::new();
    for (metric, count) in [
        (&names::RELAY_FAILED, &counters.failed),
        (&names::RELAY_TIMEOUTS, &counters.timeouts),
        (&names::RELAY_PANICKED, &counters.panics),
        (&names::RELAY_HEADERS_MISSING, &counters.headers_missing),
        (&names::RELAY_ACCEPT_PAUSES, &counters.accept_pauses),
        (&names::RELAY_CONNECT_ERRORS, &counters.connect_errors),
        (&names::RELAY_FAILOVERS, &counters.failovers),
        (&names::RELAY_QUEUED, &counters.queued),
        (&names::RELAY_DATAGRAMS, &counters.datagrams),
        (&names::ACCESS_LINES, &context.access.counts().written),
        (&names::ACCESS_LOST, &context.access.counts().lost),
    ] {
        samples.push(metric.sample(&[process], count.get() as f64));
    }
    for limit in Limit::ALL {
        let count = context.refused.count(limit);
        samples.push(names::RELAY_REFUSED.sample(&[process, limit.label()], count as f64));
    }
    for (lost, kind) in Lost::ALL {
        let count = counters.lost.get(lost);
        samples.push(names::RELAY_DATAGRAMS_DROPPED.sample(&[process, kind], count as f64));
    }
    for (limit, count) in [
        ("pipes", context.pipes.exhausted()),
        ("pool", counters.pool_full.get()),
        ("log", counters.log_full.get()),
        ("clients", context.seat.unseen()),
    ] {
        samples.push(names::RELAY_LIMIT_HITS.sample(&[process, limit], count as f64));
    }
    for (direction, count) in [("in", &counters.bytes_in), ("out", &counters.bytes_out)] {
        let bytes = names::RELAY_BYTES.sample(&[process, direction], count.get() as f64);
        samples.push(bytes);
    }
    for (reason, count) in [
        ("full", &counters.queue_full),
        ("timeout", &counters.queue_timeouts),
        ("left", &counters.queue_left),
    ] {
        let failed = names::RELAY_QUEUE_ENDED.sample(&[process, reason], count.get() as f64);
        samples.push(failed);
    }
    for measure in context.http.measures() {
        let labels: Vec<&str> = std::iter::once(process).chain(measure.label).collect();
        samples.push(measure.metric.sample(&labels, measure.value as f64));
    }
    let generation = context.generation();
    for (id, relay) in &generation.relays {
        let labels = [process, relay.config.name.as_str()];
        let active = context.clients.of_relay(*id);
        samples.push(names::RELAY_SESSIONS.sample(&labels, relay.sessions.get() as f64));
        samples.push(names::RELAY_SESSIONS_ACTIVE.sample(&labels, f64::from(active)));
    }
    hosts(context, process, &mut samples);
    samples
}

/// Queues and open connections of the tables that relays use.
fn hosts(context: &Context, process: &str, samples: &mut Vec<Sample>) {
    let generation = context.generation();
    let used: BTreeSet<TableId> = generation
        .relays
        .values()
        .flat_map(|relay| relay.tables.iter().map(|used| used.table.id))
        .collect();
    for table in used.iter().filter_map(|id| generation.table_by_id(*id)) {
        let id = table.id.to_string();
        if table.queue.is_some() {
            let waiting = context.queues.len(table.id);
            let labels = [process, table.name.as_str(), id.as_str()];
            samples.push(names::RELAY_QUEUE.sample(&labels, waiting as f64));
        }
        for host in &table.hosts {
            let id = host.parts.id.to_string();
            let labels = [process, &*host.parts.name, table.name.as_str(), id.as_str()];
            let open = f64::from(host.own_connections());
            samples.push(names::RELAY_HOST_CONNECTIONS.sample(&labels, open));
        }
    }
}
