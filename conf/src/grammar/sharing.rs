//! Table instances that turn out to be equal once the global settings are known.
//! Owns making them one, and the ids of those that remain.
//! Must never run before every table has its time-outs and intervals.

use super::Parser;
use super::reference::same_instance;
use crate::model::{HostId, RelayTable, TableId};
use std::collections::HashMap;

impl Parser<'_> {
    /// Instances that differed only until the global values were known become one, as if written equally.
    pub(super) fn share_equal_tables(&mut self) {
        let same = self.equal_tables();
        if same.is_empty() {
            return;
        }
        let new_ids = self.drop_tables(&same);
        let map = |id: TableId| {
            let kept = same.get(&id).copied().unwrap_or(id);
            new_ids.get(&kept).copied().unwrap_or(kept)
        };
        for redirect in &mut self.config.redirects {
            redirect.table = map(redirect.table);
            redirect.backup = redirect.backup.map(map);
        }
        for relay in &mut self.config.relays {
            let mut tables: Vec<RelayTable> = Vec::new();
            for mut entry in std::mem::take(&mut relay.tables) {
                entry.table = map(entry.table);
                if tables.iter().all(|t| t.table != entry.table) {
                    tables.push(entry);
                }
            }
            relay.tables = tables;
        }
        for router in &mut self.config.routers {
            router.table = map(router.table);
        }
    }

    /// Each instance that equals an earlier one, with that one.
    fn equal_tables(&self) -> HashMap<TableId, TableId> {
        let mut seen: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut same = HashMap::new();
        for (index, table) in self.config.tables.iter().enumerate() {
            let named = seen.entry(table.name.as_str()).or_default();
            let first = named
                .iter()
                .filter_map(|i| self.config.tables.get(*i))
                .find(|t| same_instance(t, table));
            match first {
                Some(first) => {
                    same.insert(table.id, first.id);
                }
                None => named.push(index),
            }
        }
        same
    }

    /// Removes those instances and numbers what remains, hosts too; answers the new id of each.
    fn drop_tables(&mut self, same: &HashMap<TableId, TableId>) -> HashMap<TableId, TableId> {
        let mut new_ids = HashMap::new();
        let mut host = 0;
        self.config.tables.retain_mut(|table| {
            if same.contains_key(&table.id) {
                return false;
            }
            let id = TableId(u32::try_from(new_ids.len() + 1).unwrap_or(u32::MAX));
            new_ids.insert(table.id, id);
            table.id = id;
            for h in &mut table.hosts {
                host += 1;
                h.id = HostId(host);
            }
            true
        });
        new_ids
    }
}
