//! Writing a desired state: the smallest change in one transaction, or everything anew in place.
//! Owns the order of a transaction's messages.
//! Must never leave a state half written, nor touch what the packet path learned.

use super::adopt::{LIVE, OWNED};
use super::change::Change;
use super::transaction::Transaction;
use super::{Balance, Installed, Nftables, dump, encode};
use crate::filter::diff::Pair;
use crate::filter::{FilterError, Ruleset, Service};
use crate::nftables::model::{Element, Family, Fragment, Key, Name, Set, SetName, Value};
use crate::nftables::service::{self, Context};
use crate::nftables::{dsr, layout};
use nftnl::nftnl_sys::libc;
use std::collections::{BTreeMap, BTreeSet};

/// Set of connections by limited host.
const CAP: &str = "cap";
/// Sets that a resynchronisation leaves alone: numbers and what the packet path learned. One whose key or data changes
/// needs another name: what an earlier build left cannot be declared anew.
const KEPT: [&str; 7] = [
    "ids",
    "sticky4",
    "sticky6",
    dsr::FLOWS[0],
    dsr::FLOWS[1],
    layout::TRAFFIC[0],
    layout::TRAFFIC[1],
];
/// From this many counters on, the whole set is read.
const ASKED_MAX: usize = 100;

impl Nftables {
    fn context(&mut self, service: &Service, balance: &Balance) -> Result<Context, FilterError> {
        let label = match &service.tag {
            Some(tag) => Some(self.labels.bit(&service.name, &tag.name)?),
            None => None,
        };
        Ok(Context {
            numbered: self.numbers.assign(service)?.clone(),
            label,
            picks: balance.picks.clone(),
            remaining: balance.remaining.clone(),
        })
    }

    /// The part of one service as it shall be now.
    pub(super) fn build(
        &mut self,
        service: &Service,
        balance: Balance,
    ) -> Result<Installed, FilterError> {
        let context = self.context(service, &balance)?;
        Ok(Installed {
            fragment: service::fragment(service, &context),
            limits: service::limits(service, &context),
            balance,
        })
    }

    /// The parts of services as they shall be.
    fn parts<'a>(
        &mut self,
        services: impl Iterator<Item = &'a Service>,
    ) -> Result<BTreeMap<String, Installed>, FilterError> {
        services
            .map(|service| {
                let known = self.installed.get(&service.name);
                let balance = known.map(|i| i.balance.clone()).unwrap_or_default();
                Ok((service.name.clone(), self.build(service, balance)?))
            })
            .collect()
    }

    /// Writes `desired` into the kernel, if need be from scratch.
    pub(super) fn install_twice(
        &mut self,
        desired: &Ruleset,
        pairs: &[Pair<'_>],
    ) -> Result<(), FilterError> {
        match self.install(desired, pairs) {
            Err(error) if self.resync => Err(error),
            // The kernel said what it has not; that is no wrong picture.
            Err(error @ FilterError::Lacking { .. }) => Err(error),
            Err(_) => {
                // Our picture of the kernel was wrong: once more from scratch, which needs no picture.
                self.resync = true;
                self.own()?;
                self.install(desired, pairs)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Writes `desired` into the kernel and remembers it; `pairs` is where it differs from what was written last.
    fn install(&mut self, desired: &Ruleset, pairs: &[Pair<'_>]) -> Result<(), FilterError> {
        if self.resync {
            let base = crate::nftables::base(desired);
            let parts = self.parts(desired.services.iter().map(AsRef::as_ref))?;
            self.rewrite(&base, &parts)?;
            self.base = base;
            self.installed = parts;
            self.relays.installed.clone_from(&desired.relays);
            self.resync = false;
            return Ok(());
        }
        let after = pairs.iter().filter_map(|p| p.after.map(AsRef::as_ref));
        let parts = self.parts(after)?;
        let mut change = Change::default();
        let relays = self.relays.installed != desired.relays;
        let base =
            (relays || pairs.iter().any(Pair::reshaped)).then(|| crate::nftables::base(desired));
        if let Some(base) = &base {
            change.compare(&self.base, base);
        }
        let nothing = Installed::default();
        for (name, new) in &parts {
            let old = self.installed.get(name).unwrap_or(&nothing);
            change.compare(&old.fragment, &new.fragment);
            change.compare_limits(&old.limits, &new.limits);
        }
        let gone = pairs.iter().filter(|p| p.after.is_none());
        let gone = gone.filter_map(|p| p.before.map(|s| s.name.as_str()));
        let gone: Vec<&str> = gone.collect();
        for old in gone.iter().filter_map(|name| self.installed.get(*name)) {
            change.compare(&old.fragment, &nothing.fragment);
        }
        change.settle();
        self.update(&change)?;
        for name in gone {
            self.installed.remove(name);
        }
        self.base = base.unwrap_or_else(|| std::mem::take(&mut self.base));
        self.installed.extend(parts);
        self.relays.installed.clone_from(&desired.relays);
        Ok(())
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
            let answer = match keys.len() {
                0 => continue,
                // Asking for each would take longer.
                ASKED_MAX.. => dump::counters(&mut self.netlink, set.family, &self.table, set.name),
                _ => dump::counters_of(&mut self.netlink, &self.table, set, &keys),
            };
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

    /// Sets of another build that are in a table of ours.
    fn unknown_sets(&mut self, family: Family) -> Result<Vec<Name>, FilterError> {
        let names = match dump::sets(&mut self.netlink, family, &self.table) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Vec::new(),
            answer => self.asked(answer)?,
        };
        let known = |name: &str| {
            let mut sets = self.sets.iter();
            sets.any(|s| s.family == family && s.name == name)
        };
        let unknown = names.into_iter().filter(|name| !known(name));
        Ok(unknown.map(|name| (family, name)).collect())
    }

    /// A transaction for the difference.
    pub(super) fn update(&mut self, change: &Change) -> Result<(), FilterError> {
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
        for (set, slots) in change.gone_slots.iter().filter(|(_, s)| !s.is_empty()) {
            let slots: Vec<_> = slots.iter().map(|s| encode::slot_key(*s)).collect();
            transaction.select(set.0);
            transaction.delete(set.1, &slots);
        }
        self.forget_connections(&mut transaction, change)?;
        for (name, chain) in &change.chains {
            if !change.new_chains.contains(name) {
                transaction.flush_chain(name);
            }
            transaction.add_rules(name, chain);
        }
        self.add_elements(&mut transaction, &change.added);
        for (set, slots) in &change.new_slots {
            transaction.add_slots(*set, slots.iter().copied());
        }
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
        if self.flags == Some(OWNED) {
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
        let mut old_sets = Vec::new();
        for family in families {
            if family == Family::Inet || old_netdev {
                let chains = dump::chains(&mut self.netlink, family, &self.table);
                let chains = self.asked(chains)?;
                old_chains.extend(chains.into_iter().map(|name| (family, name)));
                let objects = dump::objects(&mut self.netlink, family, &self.table);
                let objects = self.asked(objects)?;
                let objects = objects.into_iter();
                old_objects.extend(objects.map(|(name, kind, _)| ((family, name), kind)));
                old_sets.extend(self.unknown_sets(family)?);
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
        for (set, slots) in all().flat_map(|f| &f.slots) {
            transaction.add_slots(*set, slots.iter());
        }
        for name in &old_sets {
            transaction.delete_set(name);
        }
        let chains: BTreeSet<&Name> = all().flat_map(|f| f.chains.keys()).collect();
        for name in old_chains.iter().filter(|n| !chains.contains(n)) {
            transaction.delete_chain(name);
        }
        let objects: BTreeSet<&Name> = all().flat_map(|f| f.objects.keys()).collect();
        for (name, kind) in old_objects.iter().filter(|(n, _)| !objects.contains(n)) {
            transaction.delete_object(name, *kind);
        }
        self.transact(transaction)?;
        self.netdev = netdev;
        Ok(())
    }
}
