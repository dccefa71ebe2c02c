//! What a reload changes, and which ids stay.
//! Owns the matching of objects by name between two configurations.
//! Must never look at run-time state: it compares what was written.

use crate::model::{
    Config, Host, HostId, NetRouteId, ProtocolId, RedirectId, RelayId, RouterId, TableId,
};
use std::collections::HashMap;
use std::fmt;

/// Objects of one class that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<T> {
    /// Only in the new configuration.
    pub added: Vec<T>,
    /// In both, with other settings.
    pub changed: Vec<T>,
    /// Only in the old configuration.
    pub removed: Vec<T>,
}

impl<T: Copy + PartialEq> Changes<T> {
    fn of<O: PartialEq>(old: &[O], new: &[O], id: impl Fn(&O) -> T) -> Self {
        let find = |list: &[O], wanted: T| list.iter().position(|o| id(o) == wanted);
        let mut changes = Changes {
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
        };
        for object in new {
            match find(old, id(object)).and_then(|i| old.get(i)) {
                None => changes.added.push(id(object)),
                Some(before) if before != object => changes.changed.push(id(object)),
                Some(_) => {}
            }
        }
        changes.removed.extend(
            old.iter()
                .map(&id)
                .filter(|wanted| find(new, *wanted).is_none()),
        );
        changes
    }

    fn counts(&self) -> [usize; 3] {
        [self.added.len(), self.changed.len(), self.removed.len()]
    }
}

/// What differs between two configurations whose ids were aligned by [`keep_ids`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// Global settings differ.
    pub globals: bool,
    /// Tables, with their hosts.
    pub tables: Changes<TableId>,
    /// Redirections.
    pub redirects: Changes<RedirectId>,
    /// Relays; a relay whose protocol changed is changed.
    pub relays: Changes<RelayId>,
    /// Routers.
    pub routers: Changes<RouterId>,
    /// Protocols.
    pub protocols: Changes<ProtocolId>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        !self.globals && self.totals() == [0, 0, 0]
    }

    /// Number of objects added, changed, removed.
    pub fn totals(&self) -> [usize; 3] {
        let mut totals = [0; 3];
        for counts in [
            self.tables.counts(),
            self.redirects.counts(),
            self.relays.counts(),
            self.routers.counts(),
            self.protocols.counts(),
        ] {
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += count;
            }
        }
        totals
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [added, changed, removed] = self.totals();
        write!(f, "{added} added, {changed} changed, {removed} removed")
    }
}

/// Compares two configurations; call [`keep_ids`] on the new one first.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let protocols = Changes::of(&old.protocols, &new.protocols, |p| p.id);
    let mut relays = Changes::of(&old.relays, &new.relays, |r| r.id);
    for relay in &new.relays {
        if protocols.changed.contains(&relay.protocol)
            && !relays.changed.contains(&relay.id)
            && !relays.added.contains(&relay.id)
        {
            relays.changed.push(relay.id);
        }
    }
    Diff {
        globals: old.globals != new.globals,
        tables: Changes::of(&old.tables, &new.tables, |t| t.id),
        redirects: Changes::of(&old.redirects, &new.redirects, |r| r.id),
        relays,
        routers: Changes::of(&old.routers, &new.routers, |r| r.id),
        protocols,
    }
}

/// New ids for one class: those of the old objects with the same key, else fresh ones.
struct Renumber {
    map: HashMap<u32, u32>,
}

impl Renumber {
    /// Every item is `(id, key)`; of several with one key the first matches the first, and so on.
    fn new<K: PartialEq>(old: &[(u32, K)], new: &[(u32, K)]) -> Self {
        let mut next = old.iter().map(|(id, _)| *id).max().unwrap_or(0) + 1;
        let mut taken = vec![false; old.len()];
        let mut map = HashMap::new();
        for (id, key) in new {
            let kept = old
                .iter()
                .zip(taken.iter_mut())
                .find(|((_, k), used)| !**used && k == key);
            let target = match kept {
                Some(((target, _), used)) => {
                    *used = true;
                    *target
                }
                None => {
                    next += 1;
                    next - 1
                }
            };
            map.insert(*id, target);
        }
        Renumber { map }
    }

    fn of(&self, id: u32) -> u32 {
        self.map.get(&id).copied().unwrap_or(id)
    }
}

/// Gives objects of `new` the ids that objects of the same name have in `old`; others get ids that `old` does not use.
/// Ids identify host states, counters, sessions and kernel entries over a reload.
pub fn keep_ids(old: &Config, new: &mut Config) {
    keep_tables(old, new);
    let protocols = Renumber::new(
        &keys(&old.protocols, |p| (p.id.0, p.name.clone())),
        &keys(&new.protocols, |p| (p.id.0, p.name.clone())),
    );
    for protocol in &mut new.protocols {
        protocol.id = ProtocolId(protocols.of(protocol.id.0));
    }
    let redirects = Renumber::new(
        &keys(&old.redirects, |r| (r.id.0, r.name.clone())),
        &keys(&new.redirects, |r| (r.id.0, r.name.clone())),
    );
    for redirect in &mut new.redirects {
        redirect.id = RedirectId(redirects.of(redirect.id.0));
    }
    let relay_key = |r: &crate::model::Relay| {
        let first = r.name == r.block;
        (
            r.id.0,
            (
                r.block.clone(),
                first,
                (!first).then_some((r.listen.address, r.listen.port)),
            ),
        )
    };
    let relays = Renumber::new(&keys(&old.relays, relay_key), &keys(&new.relays, relay_key));
    for relay in &mut new.relays {
        relay.id = RelayId(relays.of(relay.id.0));
        relay.protocol = ProtocolId(protocols.of(relay.protocol.0));
        if relay.name != relay.block {
            relay.name = format!("{}{}:{}", relay.block, relay.id, relay.listen.port);
        }
    }
    keep_routers(old, new);
}

fn keys<O, K>(objects: &[O], key: impl Fn(&O) -> (u32, K)) -> Vec<(u32, K)> {
    objects.iter().map(key).collect()
}

fn keep_tables(old: &Config, new: &mut Config) {
    let tables = Renumber::new(
        &keys(&old.tables, |t| (t.id.0, t.name.clone())),
        &keys(&new.tables, |t| (t.id.0, t.name.clone())),
    );
    for table in &mut new.tables {
        table.id = TableId(tables.of(table.id.0));
    }
    let hosts = kept_hosts(old, new);
    for host in new.tables.iter_mut().flat_map(|t| t.hosts.iter_mut()) {
        host.id = hosts.get(&host.id).copied().unwrap_or(host.id);
        host.parent = host.parent.map(|p| hosts.get(&p).copied().unwrap_or(p));
    }
    let table = |id: TableId| TableId(tables.of(id.0));
    for redirect in &mut new.redirects {
        redirect.table = table(redirect.table);
        redirect.backup = redirect.backup.map(table);
    }
    for relay_table in new.relays.iter_mut().flat_map(|r| r.tables.iter_mut()) {
        relay_table.table = table(relay_table.table);
    }
    for router in &mut new.routers {
        router.table = table(router.table);
    }
}

/// The id of each host of `new`: that of the host of the same name in the same table of `old`, or one not used yet.
fn kept_hosts(old: &Config, new: &Config) -> HashMap<HostId, HostId> {
    let used = old.tables.iter().flat_map(|t| &t.hosts).map(|h| h.id.0);
    let mut next = used.max().unwrap_or(0) + 1;
    // By table, so that thousands of hosts stay cheap.
    let mut hosts = HashMap::new();
    for table in &new.tables {
        let before: &[Host] = old.table(table.id).map_or(&[], |t| &t.hosts);
        let mut by_name: HashMap<&str, Vec<HostId>> = HashMap::new();
        for host in before.iter().rev() {
            by_name.entry(host.name.as_str()).or_default().push(host.id);
        }
        for host in &table.hosts {
            let kept = by_name.get_mut(host.name.as_str()).and_then(Vec::pop);
            let id = kept.unwrap_or_else(|| {
                next += 1;
                HostId(next - 1)
            });
            hosts.insert(host.id, id);
        }
    }
    hosts
}

fn keep_routers(old: &Config, new: &mut Config) {
    let routers = Renumber::new(
        &keys(&old.routers, |r| (r.id.0, r.name.clone())),
        &keys(&new.routers, |r| (r.id.0, r.name.clone())),
    );
    let routes = |config: &Config| -> Vec<_> {
        config
            .routers
            .iter()
            .flat_map(|r| {
                r.routes
                    .iter()
                    .map(|n| (n.id.0, (r.name.clone(), n.network)))
            })
            .collect()
    };
    let netroutes = Renumber::new(&routes(old), &routes(new));
    for router in &mut new.routers {
        router.id = RouterId(routers.of(router.id.0));
        for route in &mut router.routes {
            route.id = NetRouteId(netroutes.of(route.id.0));
        }
    }
}
