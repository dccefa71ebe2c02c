//! The last word of every process on every metric.
//! Owns the values that a scrape sees.
//! Must never show what is gone: a process's new values of a metric replace all of its old ones.

use super::names::{METRICS, Metric};
use crate::link::{Peer, Sample};
use conf::limits::{METRIC_SAMPLES_MAX, SNAPSHOT_STALE};
use metrics::{Key, Label};
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{
    write_help_line, write_metric_line, write_type_line,
};
use std::collections::{BTreeMap, HashMap};
use tokio::time::Instant;

/// Values of one metric from one process, by the values of its labels.
#[derive(Debug)]
struct Values {
    at: Instant,
    values: BTreeMap<Vec<String>, f64>,
}

/// Everything that was told.
#[derive(Debug, Default)]
pub struct Store {
    by_metric: HashMap<&'static str, BTreeMap<Peer, Values>>,
}

impl Store {
    /// Takes a snapshot in. Samples of metrics that nobody defined, or with other labels, are dropped.
    pub fn snapshot(&mut self, peer: Peer, samples: Vec<Sample>, now: Instant) {
        let mut fresh: HashMap<&'static str, BTreeMap<Vec<String>, f64>> = HashMap::new();
        for sample in samples.into_iter().take(METRIC_SAMPLES_MAX) {
            let Some(metric) = Metric::find(&sample.name).filter(|m| fits(m, &sample)) else {
                continue;
            };
            let labels = sample.labels.into_iter().map(|(_, value)| value).collect();
            let values = fresh.entry(metric.name).or_default();
            values.insert(labels, sample.value);
        }
        for (name, values) in fresh {
            let peers = self.by_metric.entry(name).or_default();
            peers.insert(peer, Values { at: now, values });
        }
    }

    /// Forgets a process that ended.
    pub fn forget(&mut self, peer: Peer) {
        for peers in self.by_metric.values_mut() {
            peers.remove(&peer);
        }
    }

    /// The text of the exposition format.
    pub fn render(&mut self, now: Instant) -> String {
        let mut text = String::new();
        for metric in METRICS {
            let Some(peers) = self.by_metric.get_mut(metric.name) else {
                continue;
            };
            peers.retain(|_, values| now.duration_since(values.at) < SNAPSHOT_STALE);
            let mut all: BTreeMap<&[String], f64> = BTreeMap::new();
            for values in peers.values() {
                for (labels, value) in &values.values {
                    *all.entry(labels).or_default() += value;
                }
            }
            if !all.is_empty() {
                render(metric, &all, &mut text);
            }
        }
        text
    }
}

/// Whether a sample has the labels of its metric and a value that can be shown.
fn fits(metric: &Metric, sample: &Sample) -> bool {
    let labels = sample.labels.iter().map(|(name, _)| name.as_str());
    labels.eq(metric.labels.iter().copied()) && sample.value.is_finite()
}

fn render(metric: &Metric, values: &BTreeMap<&[String], f64>, text: &mut String) {
    write_help_line(text, metric.name, None, None, metric.help);
    write_type_line(text, metric.name, None, None, metric.kind.word());
    for (labels, value) in values {
        let labels = metric.labels.iter().zip(*labels);
        let labels: Vec<Label> = labels
            .map(|(name, value)| Label::new(*name, value.clone()))
            .collect();
        let key = Key::from_parts(metric.name, labels);
        let labels = LabelSet::from_key_and_global(&key, &Default::default());
        write_metric_line::<&str, f64>(text, metric.name, None, &labels, None, *value, None);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::link::Role;
    use crate::status::names;
    use std::time::Duration;

    fn peer(instance: u32) -> Peer {
        Peer {
            role: Role::Relay,
            instance,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn text_is_the_exposition_format() {
        let mut store = Store::default();
        let now = Instant::now();
        store.snapshot(
            peer(0),
            vec![
                names::HOST_UP.sample(&["a\"b\\c", "web:80", "3"], 1.0),
                names::RELAY_SESSIONS.sample(&["0", "www"], 7.0),
                names::PROCESS_CPU.sample(&["relay", "0"], 1.25),
            ],
            now,
        );
        assert_eq!(
            store.render(now),
            "# HELP relayd_host_up Whether the host is up: 1 up, 0 down or unknown.\n\
             # TYPE relayd_host_up gauge\n\
             relayd_host_up{host=\"a\\\"b\\\\c\",table=\"web:80\",id=\"3\"} 1\n\n\
             # HELP relayd_relay_sessions_total Sessions that the relay began.\n\
             # TYPE relayd_relay_sessions_total counter\n\
             relayd_relay_sessions_total{process=\"0\",relay=\"www\"} 7\n\n\
             # HELP process_cpu_seconds_total User and system CPU time of the process in seconds.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total{role=\"relay\",process=\"0\"} 1.25\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn series_vanish_with_their_object_and_their_process() {
        let mut store = Store::default();
        let now = Instant::now();
        let hosts = |names: &[&str]| {
            let samples = names
                .iter()
                .map(|n| names::HOST_UP.sample(&[n, "t:1", n], 1.0));
            samples.collect::<Vec<_>>()
        };
        store.snapshot(peer(0), hosts(&["a", "b"]), now);
        store.snapshot(peer(1), vec![names::RELAY_FAILED.sample(&["1"], 3.0)], now);
        assert!(store.render(now).contains("host=\"b\""));
        store.snapshot(peer(0), hosts(&["a"]), now);
        let text = store.render(now);
        assert!(text.contains("host=\"a\"") && !text.contains("host=\"b\""));
        assert!(text.contains("relayd_relay_sessions_failed_total{process=\"1\"} 3"));
        store.forget(peer(1));
        assert!(!store.render(now).contains("failed"));
        assert_eq!(
            store.render(now + SNAPSHOT_STALE + Duration::from_secs(1)),
            ""
        );
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_metrics_labels_and_values_are_dropped() {
        let mut store = Store::default();
        let now = Instant::now();
        let mut odd = names::HOST_UP.sample(&["a", "b", "1"], 1.0);
        odd.name = "evil{} 1\nx".to_owned();
        let mut labels = names::HOST_UP.sample(&["a", "b", "1"], 1.0);
        labels.labels.pop();
        let value = names::HOST_UP.sample(&["a", "b", "1"], f64::NAN);
        store.snapshot(peer(0), vec![odd, labels, value], now);
        assert_eq!(store.render(now), "");
    }
}
