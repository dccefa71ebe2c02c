//! What a relay process tells others each second.
//! Owns the form of its counters as messages and metric samples.
//! Must never count: that is [`super::counters`].

use super::context::Context;
use crate::link::{Message, Role, Sample, To};
use conf::model::RelayId;
use std::collections::HashMap;

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
    let process = ("process".to_owned(), context.me.instance.to_string());
    let sample = |name: &str, counter, value: f64, labels: &[(&str, &str)]| Sample {
        name: format!("relayd_relay_{name}"),
        labels: std::iter::once(process.clone())
            .chain(
                labels
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
            )
            .collect(),
        counter,
        value,
    };
    let counters = &context.counters;
    let mut samples = vec![sample(
        "sessions_active",
        false,
        context.sessions.len() as f64,
        &[],
    )];
    for (name, count) in [
        ("sessions_failed_total", &counters.failed),
        ("sessions_timeout_total", &counters.timeouts),
        ("sessions_panicked_total", &counters.panics),
        ("sessions_refused_total", &counters.refused),
        ("accept_pauses_total", &counters.accept_pauses),
        ("connect_errors_total", &counters.connect_errors),
        ("failovers_total", &counters.failovers),
        ("datagrams_total", &counters.datagrams),
        ("datagrams_dropped_total", &counters.datagrams_dropped),
    ] {
        samples.push(sample(name, true, count.get() as f64, &[]));
    }
    for (direction, count) in [("in", &counters.bytes_in), ("out", &counters.bytes_out)] {
        samples.push(sample(
            "bytes_total",
            true,
            count.get() as f64,
            &[("direction", direction)],
        ));
    }
    for measure in context.http.measures() {
        samples.push(sample(
            measure.name,
            measure.counter,
            measure.value as f64,
            measure.label.as_slice(),
        ));
    }
    let generation = context.generation();
    for relay in generation.relays.values() {
        let labels = [("relay", relay.config.name.as_str())];
        samples.push(sample(
            "sessions_total",
            true,
            relay.sessions.get() as f64,
            &labels,
        ));
    }
    samples
}
