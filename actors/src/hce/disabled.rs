//! What an operator or the configuration switched off.
//! Owns the set of disabled hosts and tables; children go with their parent.
//! Must never be consulted for redirects or relays: they are none of the check engine's business.

use crate::link::Admin;
use conf::Config;
use conf::model::{Host, HostId, Table, TableId};
use std::collections::BTreeSet;

/// Disabled hosts and tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disabled {
    hosts: BTreeSet<HostId>,
    tables: BTreeSet<TableId>,
}

impl Disabled {
    /// What the configuration disables, and then what was switched by hand, in order.
    pub fn new(config: &Config, admin: &[Admin]) -> Disabled {
        let mut disabled = Disabled {
            hosts: BTreeSet::new(),
            tables: config
                .tables
                .iter()
                .filter(|table| table.disabled)
                .map(|table| table.id)
                .collect(),
        };
        for change in admin {
            disabled.apply(*change);
        }
        disabled
    }

    /// Takes a change in.
    pub fn apply(&mut self, change: Admin) {
        match change {
            Admin::Host { id, disabled } => set(&mut self.hosts, id, disabled),
            Admin::Table { id, disabled } => set(&mut self.tables, id, disabled),
            _ => {}
        }
    }

    /// Whether a host is off, by itself or with its parent.
    pub fn host(&self, host: &Host) -> bool {
        let off = |id: &HostId| self.hosts.contains(id);
        off(&host.id) || host.parent.as_ref().is_some_and(off)
    }

    /// Whether a table is off.
    pub fn table(&self, table: &Table) -> bool {
        self.tables.contains(&table.id)
    }
}

fn set<T: Ord>(set: &mut BTreeSet<T>, item: T, present: bool) {
    if present {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conf::model::Address;

    fn host(id: u32, parent: Option<u32>) -> Host {
        Host {
            id: HostId(id),
            name: "h".to_owned(),
            address: Address::from(std::net::IpAddr::from([127, 0, 0, 1])),
            retry: 0,
            parent: parent.map(HostId),
            priority: 0,
            ip_ttl: 0,
            weight: 1,
            max_connections: None,
        }
    }

    #[test]
    fn the_last_word_counts_and_children_follow() {
        let change = |disabled| Admin::Host {
            id: HostId(1),
            disabled,
        };
        let mut disabled = Disabled::new(&Config::default(), &[change(false), change(true)]);
        assert!(disabled.host(&host(1, None)));
        assert!(disabled.host(&host(2, Some(1))));
        assert!(!disabled.host(&host(3, None)));
        disabled.apply(change(false));
        assert_eq!(disabled, Disabled::default());
    }
}
