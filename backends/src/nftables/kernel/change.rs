//! The difference of two states of our tables.
//! Owns the rule that numbers once given stay, and that what one redirect loses and another gains is not gone.
//! Must never look at the kernel.

use super::raw;
use crate::nftables::model::{Chain, Element, Family, Fragment, Key, Name, Object, SetName, Slots};
use std::collections::{BTreeMap, BTreeSet};

/// The difference of two states of the table.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) objects: BTreeMap<Name, Object>,
    pub(super) gone_objects: BTreeMap<Name, u32>,
    pub(super) chains: BTreeMap<Name, Chain>,
    pub(super) new_chains: BTreeSet<Name>,
    pub(super) gone_chains: BTreeSet<Name>,
    pub(super) added: BTreeMap<SetName, BTreeMap<Key, Element>>,
    pub(super) deleted: BTreeMap<SetName, BTreeSet<Key>>,
    /// Slots and their hosts.
    pub(super) new_slots: BTreeMap<SetName, Vec<(u32, u32)>>,
    pub(super) gone_slots: BTreeMap<SetName, Vec<u32>>,
    /// Hosts whose limit changes.
    pub(super) capped: BTreeSet<u32>,
}

impl Change {
    pub(super) fn compare(&mut self, old: &Fragment, new: &Fragment) {
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
        self.compare_slots(old, new);
    }

    fn compare_slots(&mut self, old: &Fragment, new: &Fragment) {
        let none = Slots::default();
        for set in old
            .slots
            .keys()
            .chain(new.slots.keys())
            .collect::<BTreeSet<_>>()
        {
            let before = old.slots.get(set).unwrap_or(&none);
            let after = new.slots.get(set).unwrap_or(&none);
            let gone = before.without(after).map(|(slot, _)| slot);
            self.gone_slots.entry(*set).or_default().extend(gone);
            let fresh = after.without(before);
            self.new_slots.entry(*set).or_default().extend(fresh);
        }
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
    pub(super) fn rewrite_chains(&mut self, fragment: &Fragment, prefix: &str) {
        let chains = fragment.chains.iter();
        let chosen = chains.filter(|((_, name), _)| name.starts_with(prefix));
        let chosen = chosen.map(|(name, chain)| (name.clone(), chain.clone()));
        self.chains.extend(chosen);
    }

    pub(super) fn touches(&self, family: Family) -> bool {
        self.chains.keys().any(|(f, _)| *f == family)
            || self.added.keys().any(|(f, _)| *f == family)
            || self.new_slots.keys().any(|(f, _)| *f == family)
    }

    pub(super) fn compare_limits(&mut self, old: &BTreeMap<u32, u32>, new: &BTreeMap<u32, u32>) {
        let differs = old
            .iter()
            .filter(|(mark, limit)| new.get(*mark) != Some(limit));
        self.capped.extend(differs.map(|(mark, _)| *mark));
    }

    /// What one redirect loses and another gains is not gone.
    pub(super) fn settle(&mut self) {
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
