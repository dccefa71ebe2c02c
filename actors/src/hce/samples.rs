//! Metrics of hosts, tables and the check engine.
//! Owns how a status becomes samples.
//! Must never keep anything: what is gone from the configuration is gone from the next snapshot.

use super::Disabled;
use super::report::Figures;
use crate::link::Sample;
use crate::status::names;
use conf::Config;
use conf::model::{Host, HostId, Table};
use protocols::host::{HostState, HostStatus};
use std::collections::BTreeMap;

/// All samples of the check engine.
pub fn samples(
    config: &Config,
    disabled: &Disabled,
    latest: &BTreeMap<HostId, HostStatus>,
    changes: &BTreeMap<HostId, u64>,
    figures: Figures,
) -> Vec<Sample> {
    let mut samples = vec![
        names::CHECKS_RUNNING.sample(&[], figures.running as f64),
        names::CHECK_LIMIT_HITS.sample(&[], figures.limit_hits as f64),
    ];
    for table in &config.tables {
        let mut up = 0u32;
        for host in &table.hosts {
            let status = latest.get(&host.id).copied();
            let status = status.unwrap_or_else(|| HostStatus::unknown(host.id));
            let off = disabled.host(host);
            if status.state == HostState::Up && !off {
                up += 1;
            }
            let changes = changes.get(&host.id).copied().unwrap_or_default();
            host_samples(table, host, &status, off, changes, &mut samples);
        }
        let id = table.id.to_string();
        let labels = [table.name.as_str(), id.as_str()];
        samples.extend([
            names::TABLE_HOSTS.sample(&labels, table.hosts.len() as f64),
            names::TABLE_HOSTS_UP.sample(&labels, f64::from(up)),
            names::TABLE_DISABLED.sample(&labels, f64::from(u8::from(disabled.table(table)))),
        ]);
    }
    samples
}

fn host_samples(
    table: &Table,
    host: &Host,
    status: &HostStatus,
    off: bool,
    changes: u64,
    samples: &mut Vec<Sample>,
) {
    let id = host.id.to_string();
    let labels = [host.name.as_str(), table.name.as_str(), id.as_str()];
    let up = status.state == HostState::Up;
    let seconds = f64::from(status.latency_ms) / 1000.0;
    samples.extend([
        names::HOST_UP.sample(&labels, f64::from(u8::from(up))),
        names::HOST_DISABLED.sample(&labels, f64::from(u8::from(off))),
        names::HOST_CHECKS.sample(&labels, status.checks as f64),
        names::HOST_CHECKS_UP.sample(&labels, status.ups as f64),
        names::HOST_CHECK_DURATION.sample(&labels, seconds),
        names::HOST_STATE_CHANGES.sample(&labels, changes as f64),
    ]);
}
