//! A host as the check engine sees it: how to check it, and when.
//! Owns what is needed to start a check, copied out of the configuration.
//! Must never hold its state: that is the table's.

use conf::model::{Address, Check, Host, HostId, Table, TableId};
use protocols::check::Plan;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What is done to check a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP connection.
    Connection(Arc<Plan>),
    /// An echo request.
    Icmp,
    /// A program.
    Script(PathBuf),
}

impl Kind {
    /// How `check` is done; `None` = not at all.
    pub fn new(check: &Check) -> Option<Kind> {
        match check {
            Check::None => None,
            Check::Icmp => Some(Kind::Icmp),
            Check::Script { path } => Some(Kind::Script(path.clone())),
            _ => Plan::new(check).map(|plan| Kind::Connection(Arc::new(plan))),
        }
    }
}

/// A check that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Its number: a result with another one is of an earlier check.
    pub serial: u32,
    /// When.
    pub started: Instant,
}

/// A host that is checked.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its table.
    pub table: TableId,
    /// As written: the argument of scripts.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// The checked port.
    pub port: u16,
    /// TTL, 0 = system default.
    pub ip_ttl: u8,
    /// How.
    pub kind: Kind,
    /// Time limit of the whole check.
    pub timeout: Duration,
    /// Time between two starts.
    pub interval: Duration,
    /// Parent's and own switch, and the table's.
    pub disabled: bool,
    /// Next regular start.
    pub due: Instant,
    /// The check under way.
    pub flight: Option<Flight>,
    /// It waits to be started.
    pub queued: bool,
}

impl Target {
    /// A host that is to be checked for the first time; `due` is set by the checker.
    pub fn new(table: &Table, host: &Host, kind: Kind, disabled: bool, now: Instant) -> Target {
        Target {
            table: table.id,
            name: host.name.clone(),
            address: host.address,
            port: table.port,
            ip_ttl: host.ip_ttl,
            kind,
            timeout: table.timeout,
            interval: table.interval.max(conf::limits::CHECK_SLOT),
            disabled,
            due: now,
            flight: None,
            queued: false,
        }
    }

    /// Whether a check of `old` under way says something about this host too.
    pub fn same_check(&self, old: &Target) -> bool {
        self.address == old.address && self.port == old.port && self.kind == old.kind
    }

    /// Moves `due` on by whole intervals until it lies after `now`.
    pub fn advance(&mut self, now: Instant) {
        self.due += self.interval;
        if self.due <= now {
            let behind = now.duration_since(self.due).as_nanos() / self.interval.as_nanos().max(1);
            let missed = u32::try_from(behind).unwrap_or(u32::MAX - 1) + 1;
            self.due += self.interval.saturating_mul(missed);
        }
    }
}

/// Spreads new hosts over their interval: the `position`th of `count` is first due so long after the first round.
pub fn phase(interval: Duration, position: usize, count: usize) -> Duration {
    let share = (position + 1) as u128;
    let nanos = interval.as_nanos() * share / (count.max(1) as u128);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A check whose result is known.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The host.
    pub host: HostId,
    /// Number of the check.
    pub serial: u32,
    /// Result.
    pub outcome: protocols::check::Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn phases_cover_the_interval_evenly(seconds in 1u64..100_000, count in 1usize..20_000) {
            let interval = Duration::from_secs(seconds);
            prop_assert_eq!(phase(interval, count - 1, count), interval);
            prop_assert!(phase(interval, 0, count) > Duration::ZERO);
            let middle = phase(interval, count / 2, count);
            prop_assert!(middle <= interval);
        }
    }
}
