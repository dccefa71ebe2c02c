//! The kernel side of the nftables backend: adopts what an earlier process left, applies changes, counts and kills.
//! Owns the netlink sockets and the picture of what the kernel holds.
//! Must never delete the table while connections use it, except when told to purge.

mod conntrack;
mod dump;
mod encode;
mod errors;
mod monitor;
mod raw;
mod relays;
mod socket;
mod states;
mod surroundings;
mod transaction;

use super::labels::Labels;
use super::layout;
use super::model::{Chain, Element, Family, Fragment, Key, Name, Object, Set, SetName, Value};
use super::numbers::Numbers;
use super::service::{self, Context};
use crate::filter::{
    Capabilities, FilterError, PacketFilter, Ruleset, Service, ServiceStatistics, Settings,
    TableChange, Traffic, diff,
};
use conf::model::{HostId, RedirectId};
use dump::Counters;
use monitor::Monitor;
use nftnl::nftnl_sys::libc;
use socket::Netlink;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use transaction::Transaction;

/// `NFT_TABLE_F_OWNER`: nobody else may change the table, and `flush ruleset` passes it by.
const OWNER: u32 = 2;
/// `NFT_TABLE_F_PERSIST` (Linux 6.9): the table outlives its owner, who may be killed.
const PERSIST: u32 = 4;
/// Sets that count sessions by host.
const LIVE: [SetName; 5] = [
    (Family::Inet, "live4"),
    (Family::Inet, "live6"),
    (Family::Inet, "keep4"),
    (Family::Inet, "keep6"),
    (Family::Netdev, "sessions"),
];
/// Set of connections by limited host.
const CAP: &str = "cap";
/// Sets that a resynchronisation leaves alone: numbers and what the packet path learned.
const KEPT: [&str; 7] = [
    "ids",
    "sticky4",
    "sticky6",
    "flow4",
    "flow6",
    "traffic_in",
    "traffic_out",
];

/// Whether this process may use nftables here. Changes nothing.
///
/// # Errors
/// No right, or no nf_tables in the kernel.
pub fn probe() -> Result<(), FilterError> {
    let mut netlink = Netlink::open().map_err(|e| errors::access(&e))?;
    dump::table(&mut netlink, Family::Inet, "")
        .map(|_| ())
        .map_err(|e| errors::access(&e))
}

/// See [`crate::filter::surroundings`].
///
/// # Errors
/// What makes `desired` impossible.
pub fn surroundings(table: &str, desired: &Ruleset) -> Result<Vec<String>, FilterError> {
    let mut netlink = Netlink::open().map_err(|e| errors::access(&e))?;
    foreign(&mut netlink, table)?;
    surroundings::check(desired)?;
    Ok(surroundings::warnings(desired))
}

/// Refuses a table of our name that somebody else filled: adopting it would empty it.
fn foreign(netlink: &mut Netlink, table: &str) -> Result<(), FilterError> {
    for family in [Family::Inet, Family::Netdev] {
        let ours = dump::ours(netlink, family, table).map_err(|e| errors::access(&e))?;
        if !ours {
            return Err(FilterError::Unavailable {
                object: format!("nftables table {} {table}", family.keyword()),
                reason: "was not made by relayd".to_owned(),
                cure: "choose another name with the option table, or delete the table with `nft delete table`",
            });
        }
    }
    Ok(())
}

/// What the kernel holds of one redirect.
#[derive(Debug, Default)]
struct Installed {
    fragment: Fragment,
    /// Pick lists of `least-states`.
    picks: BTreeMap<super::model::Ip, Vec<u32>>,
    /// Limits, and what limited hosts may still get once there was an overflow.
    remaining: BTreeMap<u32, (u32, u32)>,
    /// Sessions at the last tick.
    sessions: u64,
    /// Overflows at the last tick.
    overflows: u64,
    /// Limits in its rules, by mark.
    limits: BTreeMap<u32, u32>,
}

/// The backend.
pub struct Nftables {
    table: String,
    netlink: Netlink,
    sets: Vec<Set>,
    /// Table flags in force; `None` before adoption.
    flags: Option<u32>,
    numbers: Numbers,
    current: Ruleset,
    base: Fragment,
    installed: BTreeMap<String, Installed>,
    /// The kernel may hold anything: the next transaction writes everything anew, in place.
    resync: bool,
    /// Counters of hosts that have no element now.
    counted: Counters,
    settings: Settings,
    /// Sees foreign changes where the table cannot be owned.
    monitor: Option<Monitor>,
    /// There was a foreign change that is not put right yet.
    disturbed: bool,
    labels: Labels,
    /// The adopted table redirects connections.
    serving: bool,
    /// The netdev table was made.
    netdev: bool,
    /// Lines for the log, delivered by the next tick.
    notices: Vec<String>,
    relays: relays::State,
}

impl Nftables {
    /// Opens the sockets; `table` is the name of our table.
    ///
    /// # Errors
    /// No right or no kernel support.
    pub fn open(table: &str) -> Result<Nftables, FilterError> {
        let mut netlink = Netlink::open().map_err(|e| errors::access(&e))?;
        dump::table(&mut netlink, Family::Inet, table).map_err(|e| errors::access(&e))?;
        Ok(Nftables {
            table: table.to_owned(),
            netlink,
            sets: super::sets(),
            flags: None,
            numbers: Numbers::default(),
            current: Ruleset::default(),
            base: Fragment::default(),
            installed: BTreeMap::new(),
            resync: true,
            counted: Counters::new(),
            settings: Settings::default(),
            monitor: None,
            disturbed: false,
            serving: false,
            labels: Labels::read(),
            netdev: false,
            notices: Vec::new(),
            relays: relays::State::default(),
        })
    }

    fn transaction(&self) -> Transaction {
        Transaction::new(&self.table)
    }

    fn transact(&mut self, transaction: Transaction) -> Result<(), FilterError> {
        let (bytes, names) = transaction.finish();
        self.netlink
            .transact(&bytes)
            .map_err(|refusal| errors::transaction(&self.table, &names, refusal))
    }

    fn asked<T>(&self, answer: io::Result<T>) -> Result<T, FilterError> {
        answer.map_err(|source| FilterError::Refused {
            object: format!("nftables table {}", self.table),
            source,
        })
    }

    /// Makes the table ours: with owner and persist where the kernel has both, else as a plain table.
    fn own(&mut self) -> Result<(), FilterError> {
        let declare = |this: &mut Nftables, flags| {
            let mut transaction = this.transaction();
            transaction.declare_table(flags, layout::COMMENT);
            let (bytes, names) = transaction.finish();
            this.netlink.transact(&bytes).map_err(|r| (r, names))
        };
        let owned = match self.settings.shared {
            true => None,
            false => Some(declare(self, OWNER | PERSIST)),
        };
        match owned {
            Some(Ok(())) => {
                self.flags = Some(OWNER | PERSIST);
                self.monitor = None;
                return Ok(());
            }
            Some(Err((refusal, names)))
                if !matches!(
                    refusal.error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::EINVAL)
                ) =>
            {
                return Err(errors::transaction(&self.table, &names, refusal));
            }
            _ => {}
        }
        // A table that outlived its owner keeps that flag for ever.
        let answer = dump::table(&mut self.netlink, Family::Inet, &self.table);
        let flags = self.asked(answer)?.unwrap_or(0) & PERSIST;
        declare(self, flags).map_err(|(r, n)| errors::transaction(&self.table, &n, r))?;
        self.flags = Some(flags);
        if self.monitor.is_none() {
            self.monitor = Monitor::open(&self.table, &self.netlink).ok();
        }
        Ok(())
    }

    /// Reads numbers and counters back from a table that was there before.
    fn recall(&mut self) -> Result<(), FilterError> {
        let absent = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
        let netlink = &mut self.netlink;
        match dump::ids(netlink, Family::Inet, &self.table) {
            Ok(ids) => self.numbers.recall(ids),
            // A table without our sets: somebody made it empty, or it is new.
            Err(error) if absent(&error) => return Ok(()),
            answer => self.asked(answer.map(|_| ()))?,
        }
        self.counted = self.live_counters()?;
        self.serving = self.has_services()?;
        Ok(())
    }

    fn has_services(&mut self) -> Result<bool, FilterError> {
        for set in self.sets.iter().filter(|s| s.name.starts_with("svc")) {
            match dump::elements(&mut self.netlink, set.family, &self.table, set.name) {
                Ok(elements) if elements.is_empty() => {}
                Ok(_) => return Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return self.asked(Err(error)),
            }
        }
        Ok(false)
    }

    fn live_counters(&mut self) -> Result<Counters, FilterError> {
        let mut all = Counters::new();
        for (family, set) in LIVE {
            match dump::counters(&mut self.netlink, family, &self.table, set) {
                Ok(counters) => all.extend(counters),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return self.asked(Err(error)),
            }
        }
        Ok(all)
    }

    /// Packets and bytes by mark; empty unless they are counted.
    fn traffic(&mut self) -> Result<BTreeMap<u32, Traffic>, FilterError> {
        let mut all: BTreeMap<u32, Traffic> = BTreeMap::new();
        if !self.current.services.iter().any(|s| s.count_traffic) {
            return Ok(all);
        }
        let [from_clients, to_clients] = layout::TRAFFIC;
        let of =
            |netlink: &mut Netlink, set| dump::counters(netlink, Family::Inet, &self.table, set);
        let answers = [from_clients, to_clients].map(|set| of(&mut self.netlink, set));
        let [incoming, outgoing] = answers;
        for (mark, (packets, bytes)) in self.asked(incoming)? {
            let entry = all.entry(mark).or_default();
            (entry.packets_in, entry.bytes_in) = (packets, bytes);
        }
        for (mark, (packets, bytes)) in self.asked(outgoing)? {
            let entry = all.entry(mark).or_default();
            (entry.packets_out, entry.bytes_out) = (packets, bytes);
        }
        Ok(all)
    }

    fn context(&mut self, service: &Service) -> Result<Context, FilterError> {
        let label = match &service.tag {
            Some(tag) => Some(self.labels.bit(&service.name, &tag.name)?),
            None => None,
        };
        let installed = self.installed.get(&service.name);
        Ok(Context {
            numbered: self.numbers.assign(service)?.clone(),
            label,
            picks: installed.map(|i| i.picks.clone()).unwrap_or_default(),
            remaining: installed.map(|i| i.remaining.clone()).unwrap_or_default(),
        })
    }

    /// The part of one service as it shall be now.
    fn build(&mut self, service: &Service) -> Result<Installed, FilterError> {
        let context = self.context(service)?;
        let known = self.installed.get(&service.name);
        Ok(Installed {
            fragment: service::fragment(service, &context),
            limits: service::limits(service, &context),
            picks: context.picks,
            remaining: context.remaining,
            sessions: known.map_or(0, |i| i.sessions),
            overflows: known.map_or(0, |i| i.overflows),
        })
    }

    /// The fragments that `desired` needs and the kernel does not hold yet, by service name.
    fn changed(&mut self, desired: &Ruleset) -> Result<BTreeMap<String, Installed>, FilterError> {
        let current = std::mem::take(&mut self.current);
        let known: BTreeMap<&str, &Service> = current
            .services
            .iter()
            .map(|s| (s.name.as_str(), s))
            .collect();
        let mut changed = BTreeMap::new();
        let mut result = Ok(());
        for service in &desired.services {
            let same = known.get(service.name.as_str()) == Some(&service);
            if same && !self.resync {
                continue;
            }
            match self.build(service) {
                Ok(installed) => {
                    changed.insert(service.name.clone(), installed);
                }
                Err(error) => result = Err(error),
            }
        }
        self.current = current;
        result.map(|()| changed)
    }

    /// Counters of elements that are about to be deleted, so that a host's sessions do not begin at zero again.
    fn rescue_counters(&mut self, change: &Change) -> Result<(), FilterError> {
        let live = |s: &&Set| LIVE.contains(&(s.family, s.name));
        for set in self.sets.iter().filter(live) {
            let keys: Vec<Key> = change
                .deleted
                .get(&(set.family, set.name))
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            let answer = dump::counters_of(&mut self.netlink, &self.table, set, &keys);
            let counters = self.asked(answer)?;
            self.counted.extend(counters);
        }
        Ok(())
    }

    fn set(&self, (family, name): SetName) -> Option<&Set> {
        let mut sets = self.sets.iter();
        sets.find(|s| s.family == family && s.name == name)
    }

    /// Makes a table and its sets, as far as they are not there.
    fn declare(&self, transaction: &mut Transaction, family: Family) {
        transaction.select(family);
        transaction.declare_table(self.flags.unwrap_or(0), layout::COMMENT);
        for set in self.sets.iter().filter(|s| s.family == family) {
            transaction.declare_set(set);
        }
    }

    /// A transaction for the difference.
    fn update(&mut self, change: &Change) -> Result<(), FilterError> {
        self.rescue_counters(change)?;
        let mut transaction = self.transaction();
        let netdev = change.touches(Family::Netdev) && !self.netdev;
        if netdev {
            self.declare(&mut transaction, Family::Netdev);
        }
        for (name, object) in &change.objects {
            transaction.declare_object(name, object);
        }
        for name in change.chains.keys() {
            if change.new_chains.contains(name) {
                transaction
                    .declare_chain(name, change.chains.get(name).and_then(|c| c.hook.as_ref()));
            }
        }
        for (set, keys) in &change.deleted {
            if let Some(set) = self.set(*set) {
                transaction.delete_elements(set, keys.iter());
            }
        }
        self.forget_connections(&mut transaction, change)?;
        for (name, chain) in &change.chains {
            if !change.new_chains.contains(name) {
                transaction.flush_chain(name);
            }
            transaction.add_rules(name, chain);
        }
        self.add_elements(&mut transaction, &change.added);
        for name in &change.gone_chains {
            transaction.flush_chain(name);
        }
        for name in &change.gone_chains {
            transaction.delete_chain(name);
        }
        for (name, kind) in &change.gone_objects {
            transaction.delete_object(name, *kind);
        }
        if transaction.len() == 0 {
            return Ok(());
        }
        self.transact(transaction)?;
        self.netdev |= netdev;
        Ok(())
    }

    /// The kernel's lists of connections of hosts whose limit changes: the next connection makes a new one.
    fn forget_connections(
        &mut self,
        transaction: &mut Transaction,
        change: &Change,
    ) -> Result<(), FilterError> {
        let Some(set) = self.set((Family::Inet, CAP)) else {
            return Ok(());
        };
        let keys = change.capped.iter().map(|mark| vec![Value::Mark(*mark)]);
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() {
            return Ok(());
        }
        if self.flags == Some(OWNER | PERSIST) {
            transaction.destroy_elements(set, keys.iter());
            return Ok(());
        }
        // An older kernel wants to be told of elements that exist only.
        let present = dump::elements(&mut self.netlink, Family::Inet, &self.table, CAP);
        let present = self.asked(present)?;
        let there = |key: &&Key| {
            let bytes = match key.first() {
                Some(Value::Mark(mark)) => mark.to_ne_bytes(),
                _ => return false,
            };
            present.iter().any(|e| e.key == bytes)
        };
        if let Some(set) = self.set((Family::Inet, CAP)) {
            transaction.delete_elements(set, keys.iter().filter(there));
        }
        Ok(())
    }

    fn add_elements(
        &self,
        transaction: &mut Transaction,
        added: &BTreeMap<SetName, BTreeMap<Key, Element>>,
    ) {
        for (name, elements) in added {
            let Some(set) = self.set(*name) else {
                continue;
            };
            let counted = |key: &Key| match (LIVE.contains(name), key.first()) {
                (true, Some(Value::Mark(mark))) => self.counted.get(mark).copied(),
                _ => None,
            };
            let messages: Vec<_> = elements
                .iter()
                .map(|(key, element)| encode::element(set, key, element, counted(key)))
                .collect();
            transaction.add_elements(set, &messages);
        }
    }

    /// Everything anew, in place and in one transaction: rules and elements are replaced, what was learned stays.
    fn rewrite(
        &mut self,
        base: &Fragment,
        fragments: &BTreeMap<String, Installed>,
    ) -> Result<(), FilterError> {
        let all = || std::iter::once(base).chain(fragments.values().map(|i| &i.fragment));
        let netdev = all().any(|f| f.chains.keys().any(|(family, _)| *family == Family::Netdev));
        let old = dump::table(&mut self.netlink, Family::Netdev, &self.table);
        let old_netdev = self.asked(old)?.is_some();
        let mut transaction = self.transaction();
        let mut families = vec![Family::Inet];
        if netdev {
            families.push(Family::Netdev);
        } else if old_netdev {
            transaction.select(Family::Netdev);
            transaction.delete_table();
        }
        let mut old_chains = Vec::new();
        let mut old_objects = Vec::new();
        for family in families {
            if family == Family::Inet || old_netdev {
                let chains = dump::chains(&mut self.netlink, family, &self.table);
                let chains = self.asked(chains)?;
                old_chains.extend(chains.into_iter().map(|name| (family, name)));
                let objects = dump::objects(&mut self.netlink, family, &self.table);
                let objects = self.asked(objects)?;
                let objects = objects.into_iter();
                old_objects.extend(objects.map(|(name, kind, _)| ((family, name), kind)));
            }
            self.declare(&mut transaction, family);
            transaction.flush_table();
            let sets = self.sets.iter().filter(|s| s.family == family);
            for set in sets.filter(|s| !KEPT.contains(&s.name)) {
                transaction.flush_set(set);
            }
        }
        for (name, object) in all().flat_map(|f| &f.objects) {
            transaction.declare_object(name, object);
        }
        for (name, chain) in all().flat_map(|f| &f.chains) {
            transaction.declare_chain(name, chain.hook.as_ref());
        }
        for (name, chain) in all().flat_map(|f| &f.chains) {
            transaction.add_rules(name, chain);
        }
        for fragment in all() {
            self.add_elements(&mut transaction, &fragment.elements);
        }
        for name in &old_chains {
            if !all().any(|f| f.chains.contains_key(name)) {
                transaction.delete_chain(name);
            }
        }
        for (name, kind) in &old_objects {
            if !all().any(|f| f.objects.contains_key(name)) {
                transaction.delete_object(name, *kind);
            }
        }
        self.transact(transaction)?;
        self.netdev = netdev;
        Ok(())
    }

    /// Writes `desired` into the kernel, if need be from scratch.
    fn install_twice(&mut self, desired: &Ruleset) -> Result<(), FilterError> {
        match self.install(desired) {
            Err(error) if self.resync => Err(error),
            Err(_) => {
                // Our picture of the kernel was wrong: once more from scratch, which needs no picture.
                self.resync = true;
                self.own()?;
                self.install(desired)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Writes `desired` into the kernel and remembers it.
    fn install(&mut self, desired: &Ruleset) -> Result<(), FilterError> {
        let base = super::base(desired);
        let changed = self.changed(desired)?;
        let names: BTreeSet<&str> = desired.services.iter().map(|s| s.name.as_str()).collect();
        let gone: Vec<String> = self
            .installed
            .keys()
            .filter(|name| !names.contains(name.as_str()))
            .cloned()
            .collect();
        if self.resync {
            self.rewrite(&base, &changed)?;
        } else {
            let mut change = Change::default();
            change.compare(&self.base, &base);
            let nothing = Fragment::default();
            for (name, new) in &changed {
                let old = self.installed.get(name);
                change.compare(old.map_or(&nothing, |i| &i.fragment), &new.fragment);
                let no_limits = BTreeMap::new();
                change.compare_limits(old.map_or(&no_limits, |i| &i.limits), &new.limits);
            }
            for name in &gone {
                if let Some(old) = self.installed.get(name) {
                    change.compare(&old.fragment, &nothing);
                }
            }
            change.settle();
            self.update(&change)?;
        }
        for name in &gone {
            self.installed.remove(name);
        }
        self.base = base;
        self.installed.extend(changed);
        self.resync = false;
        Ok(())
    }
}

/// The difference of two states of the table.
#[derive(Debug, Default)]
struct Change {
    objects: BTreeMap<Name, Object>,
    gone_objects: BTreeMap<Name, u32>,
    chains: BTreeMap<Name, Chain>,
    new_chains: BTreeSet<Name>,
    gone_chains: BTreeSet<Name>,
    added: BTreeMap<SetName, BTreeMap<Key, Element>>,
    deleted: BTreeMap<SetName, BTreeSet<Key>>,
    /// Hosts whose limit changes.
    capped: BTreeSet<u32>,
}

impl Change {
    fn compare(&mut self, old: &Fragment, new: &Fragment) {
        for (name, object) in &new.objects {
            if !old.objects.contains_key(name) {
                self.objects.insert(name.clone(), object.clone());
            }
        }
        for (name, object) in &old.objects {
            if !new.objects.contains_key(name) {
                let kind = match object {
                    Object::Counter(_) => raw::COUNTER,
                    Object::Timeout(..) => raw::TIMEOUT,
                };
                self.gone_objects.insert(name.clone(), kind);
            }
        }
        for (name, chain) in &new.chains {
            match old.chains.get(name) {
                Some(before) if before == chain => {}
                Some(_) => {
                    self.chains.insert(name.clone(), chain.clone());
                }
                None => {
                    self.new_chains.insert(name.clone());
                    self.chains.insert(name.clone(), chain.clone());
                }
            }
        }
        let gone = old.chains.keys().filter(|n| !new.chains.contains_key(*n));
        self.gone_chains.extend(gone.cloned());
        self.compare_elements(old, new);
    }

    fn compare_elements(&mut self, old: &Fragment, new: &Fragment) {
        let empty = BTreeMap::new();
        let sets: BTreeSet<SetName> = old
            .elements
            .keys()
            .chain(new.elements.keys())
            .copied()
            .collect();
        for set in sets {
            let before = old.elements.get(&set).unwrap_or(&empty);
            let after = new.elements.get(&set).unwrap_or(&empty);
            for (key, element) in after.iter().filter(|(k, e)| before.get(*k) != Some(e)) {
                let added = self.added.entry(set).or_default();
                added.insert(key.clone(), element.clone());
            }
            // A number that was given stays known, so that nobody else gets it while connections carry it.
            if set.1 == "ids" {
                continue;
            }
            for (key, _) in before.iter().filter(|(k, e)| after.get(*k) != Some(e)) {
                self.deleted.entry(set).or_default().insert(key.clone());
            }
        }
    }

    /// Writes chains with this prefix even if they are the same: a rule's counter begins anew.
    fn rewrite_chains(&mut self, fragment: &Fragment, prefix: &str) {
        let chains = fragment.chains.iter();
        let chosen = chains.filter(|((_, name), _)| name.starts_with(prefix));
        let chosen = chosen.map(|(name, chain)| (name.clone(), chain.clone()));
        self.chains.extend(chosen);
    }

    fn touches(&self, family: Family) -> bool {
        self.chains.keys().any(|(f, _)| *f == family)
            || self.added.keys().any(|(f, _)| *f == family)
    }

    fn compare_limits(&mut self, old: &BTreeMap<u32, u32>, new: &BTreeMap<u32, u32>) {
        let differs = old
            .iter()
            .filter(|(mark, limit)| new.get(*mark) != Some(limit));
        self.capped.extend(differs.map(|(mark, _)| *mark));
    }

    /// What one redirect loses and another gains is not gone.
    fn settle(&mut self) {
        let Change {
            gone_chains,
            gone_objects,
            new_chains,
            objects,
            ..
        } = self;
        gone_chains.retain(|name| {
            let moved = new_chains.remove(name);
            !moved
        });
        gone_objects.retain(|name, _| objects.remove(name).is_none());
    }
}

impl PacketFilter for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn capabilities(&self) -> Capabilities {
        super::CAPABILITIES
    }

    fn adopt(&mut self) -> Result<(), FilterError> {
        foreign(&mut self.netlink, &self.table)?;
        self.own()?;
        self.recall()?;
        self.resync = true;
        Ok(())
    }

    fn serving(&self) -> bool {
        self.serving
    }

    fn apply(&mut self, desired: &Ruleset) -> Result<Vec<TableChange>, FilterError> {
        self.verify(desired)?;
        surroundings::check(desired)?;
        if self.flags.is_none() {
            self.adopt()?;
        }
        let mut changes = diff::changes(&self.current, desired);
        self.install_with_relays(desired)?;
        let before = std::mem::replace(&mut self.current, desired.clone());
        self.end_lost(&before, &mut changes);
        Ok(changes)
    }

    fn statistics(&mut self) -> Result<Vec<ServiceStatistics>, FilterError> {
        let live = self.live_counters()?;
        let traffic = self.traffic()?;
        let answer = dump::objects(&mut self.netlink, Family::Inet, &self.table);
        let mut objects = self.asked(answer)?;
        if self.netdev {
            let answer = dump::objects(&mut self.netlink, Family::Netdev, &self.table);
            objects.extend(self.asked(answer)?);
        }
        let sessions: BTreeMap<&str, u64> = objects
            .iter()
            .map(|(name, _, packets)| (name.as_str(), *packets))
            .collect();
        let mut all = Vec::new();
        for service in &self.current.services {
            let Some(numbered) = self.numbers.get(&service.name) else {
                continue;
            };
            let counter = format!("c_{}", service::identifier(&service.name, numbered));
            let of_mark = |mark: &u32| live.get(mark).or_else(|| self.counted.get(mark));
            let mut hosts = BTreeMap::new();
            for server in &service.servers {
                let mark = numbered.mark(server, service.keep_port);
                hosts.entry(mark).or_insert(server.id);
            }
            let sessions_of = |(mark, id): (&u32, &HostId)| Some((*id, of_mark(mark)?.0));
            let traffic_of = |(mark, id): (&u32, &HostId)| Some((*id, *traffic.get(mark)?));
            all.push(ServiceStatistics {
                id: service.id,
                hosts: hosts.iter().filter_map(sessions_of).collect(),
                traffic: hosts.iter().filter_map(traffic_of).collect(),
                sessions: sessions.get(counter.as_str()).copied().unwrap_or(0),
            });
        }
        Ok(all)
    }

    fn configure(&mut self, settings: Settings) {
        // Rules with another label are written anew by the next transaction.
        self.resync |= self.labels.learn(&settings.tags);
        self.settings = settings;
    }

    fn verify(&self, desired: &Ruleset) -> Result<(), FilterError> {
        super::verify(desired)
    }

    fn watch(&self) -> Option<OwnedFd> {
        self.monitor.as_ref()?.descriptor().ok()
    }

    fn restore(&mut self) -> Result<Option<String>, FilterError> {
        self.put_right()
    }

    fn tick(&mut self) -> Result<Vec<String>, FilterError> {
        let restored = self.put_right()?;
        self.notices.extend(restored);
        self.balance_states()?;
        self.balance_limits()?;
        self.restore_delivery()?;
        Ok(std::mem::take(&mut self.notices))
    }

    fn kill(&mut self, service: RedirectId, host: Option<HostId>) -> Result<u32, FilterError> {
        self.kill_states(service, host)
    }

    fn nat_lookup(
        &mut self,
        ip_protocol: u8,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Result<Option<SocketAddr>, FilterError> {
        let found = conntrack::original_destination(&mut self.netlink, ip_protocol, client, local);
        self.asked(found)
    }

    fn release(&mut self) -> Result<(), FilterError> {
        if self.flags.is_none() || self.resync {
            // Nothing was installed by us.
            return self.remove_delivery();
        }
        let mut transaction = self.transaction();
        for set in self.sets.iter().filter(|s| s.name.starts_with("svc")) {
            if set.family == Family::Inet || self.netdev {
                transaction.flush_set(set);
            }
        }
        match self.numbers.is_empty() {
            // There never was a redirect whose connections live on.
            true => transaction.delete_table(),
            false => self.withdraw_relays(&mut transaction),
        }
        self.transact(transaction)?;
        self.resync = true;
        self.remove_delivery()
    }

    fn purge(&mut self) -> Result<(), FilterError> {
        if self.flags.is_none() {
            self.own()?;
        }
        for service in self.current.services.clone() {
            self.kill_states(service.id, None)?;
        }
        let answer = dump::table(&mut self.netlink, Family::Netdev, &self.table);
        let netdev = self.asked(answer)?.is_some();
        let mut transaction = self.transaction();
        transaction.delete_table();
        if netdev {
            transaction.select(Family::Netdev);
            transaction.delete_table();
        }
        self.transact(transaction)?;
        self.remove_delivery()?;
        self.netdev = false;
        self.flags = None;
        self.monitor = None;
        self.resync = true;
        self.numbers = Numbers::default();
        self.counted.clear();
        self.installed.clear();
        self.current = Ruleset::default();
        Ok(())
    }

    fn preview(&self, desired: &Ruleset) -> String {
        super::preview_with(
            &self.table,
            desired,
            &mut self.numbers.clone(),
            &mut self.labels.clone(),
        )
    }
}
