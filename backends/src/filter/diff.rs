//! What a change means to the operator: the numbers of `table NAME: N added, N deleted, N changed, N killed`.
//! Owns the comparison of two desired states; every backend reports with it.
//! Must never touch a packet filter.

use super::{Ruleset, Server, Service, TableChange};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A service before and after, where it is not the same.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// As it was; none = it is new.
    pub before: Option<&'a Arc<Service>>,
    /// As it shall be; none = it goes.
    pub after: Option<&'a Arc<Service>>,
}

impl Pair<'_> {
    /// Whether more changed than hosts: what the packet filter must look at in the light of other services.
    pub fn reshaped(&self) -> bool {
        let (Some(before), Some(after)) = (self.before, self.after) else {
            return true;
        };
        before.listeners != after.listeners
            || before.forward != after.forward
            || before.session_timeout != after.session_timeout
            || before.count_traffic != after.count_traffic
    }
}

/// The services that are not the same, in the order of `new`, then those that are gone. Costs next to nothing where
/// both states share a service.
pub fn pairs<'a>(old: &'a Ruleset, new: &'a Ruleset) -> Vec<Pair<'a>> {
    let same = |(a, b): (&Arc<Service>, &Arc<Service>)| Arc::ptr_eq(a, b) || a.name == b.name;
    let (old, new) = (&old.services, &new.services);
    if old.len() == new.len() && old.iter().zip(new).all(same) {
        let all = old.iter().zip(new).filter(|(a, b)| a != b);
        return all
            .map(|(before, after)| Pair {
                before: Some(before),
                after: Some(after),
            })
            .collect();
    }
    let known: HashMap<&str, &Arc<Service>> = old.iter().map(|s| (s.name.as_str(), s)).collect();
    let wanted: HashSet<&str> = new.iter().map(|s| s.name.as_str()).collect();
    let kept = new.iter().map(|service| Pair {
        before: known.get(service.name.as_str()).copied(),
        after: Some(service),
    });
    let gone = old.iter().filter(|s| !wanted.contains(s.name.as_str()));
    let gone = gone.map(|service| Pair {
        before: Some(service),
        after: None,
    });
    kept.filter(|p| p.before != p.after).chain(gone).collect()
}

/// The changes from `old` to `new`: one entry per service that is not the same, in the order of `new`, then the
/// services that are gone. `killed` is left at 0, since only the packet filter knows it.
pub fn changes(old: &Ruleset, new: &Ruleset) -> Vec<TableChange> {
    described(&pairs(old, new))
}

/// What changed in the operator's terms, as [`changes`].
pub fn described(pairs: &[Pair<'_>]) -> Vec<TableChange> {
    let change = |p: &Pair<'_>| change(p.before.map(Arc::as_ref), p.after.map(Arc::as_ref));
    pairs.iter().filter_map(change).collect()
}

/// One service before and after; `None` if nothing an operator can see has changed.
fn change(before: Option<&Service>, after: Option<&Service>) -> Option<TableChange> {
    let named = after.or(before)?;
    let old = before.map(members).unwrap_or_default();
    let new = after.map(members).unwrap_or_default();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let active = |service: Option<&Service>| service.is_some_and(|s| s.active);
    let rules = match (active(before), active(after)) {
        (false, true) => Some(true),
        (true, false) => Some(false),
        _ => None,
    };
    let result = TableChange {
        redirect: named.id.0,
        name: named.name.clone(),
        added: count(new.keys().filter(|k| !old.contains_key(*k)).count()),
        deleted: count(old.keys().filter(|k| !new.contains_key(*k)).count()),
        changed: count(
            new.iter()
                .filter(|(k, v)| old.get(*k).is_some_and(|o| o != *v))
                .count(),
        ),
        killed: 0,
        rules,
    };
    let visible = result.added + result.deleted + result.changed > 0 || result.rules.is_some();
    visible.then_some(result)
}

/// The addresses new connections go to, with what matters about each; an address counts once, as in a pf table.
fn members(service: &Service) -> HashMap<IpAddr, (u16, u16, Option<u32>)> {
    if !service.active {
        return HashMap::new();
    }
    let entry = |s: &Server| (s.address.ip, (s.port, s.weight, s.max_connections));
    service.usable().map(entry).collect()
}

/// Servers that lose what they had between two states of a service, with their last description: gone, down, or at
/// another address. Their states may have to be killed.
pub fn lost<'a>(before: &'a Service, after: Option<&'a Service>) -> Vec<&'a Server> {
    use super::ServerState::Down;
    before
        .servers
        .iter()
        .filter(|old| old.state != Down)
        .filter(|old| {
            after.is_none_or(|service| {
                !service.servers.iter().any(|new| {
                    new.state != Down && new.address == old.address && new.port == old.port
                })
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::super::testing::service;
    use super::super::{Ruleset, ServerState};
    use super::*;

    fn set(services: Vec<Service>) -> Ruleset {
        services.into_iter().collect()
    }

    fn service_of(rules: &mut Ruleset, n: usize) -> &mut Service {
        Arc::make_mut(&mut rules.services[n])
    }

    #[test]
    fn first_load_adds_all_usable_hosts() {
        let new = set(vec![service("www", 3)]);
        let got = changes(&Ruleset::default(), &new);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].added, got[0].deleted, got[0].changed), (3, 0, 0));
        assert_eq!(got[0].rules, Some(true));
        assert_eq!(got[0].name, "www");
    }

    #[test]
    fn equal_states_change_nothing() {
        let new = set(vec![service("www", 3)]);
        assert!(changes(&new, &new.clone()).is_empty());
    }

    #[test]
    fn host_down_drain_and_weight() {
        let old = set(vec![service("www", 3)]);
        let mut new = old.clone();
        service_of(&mut new, 0).servers[1].state = ServerState::Down;
        service_of(&mut new, 0).servers[2].weight = 7;
        let got = changes(&old, &new);
        assert_eq!((got[0].added, got[0].deleted, got[0].changed), (0, 1, 1));
        assert_eq!(got[0].rules, None);
        assert_eq!(
            lost(&old.services[0], Some(&new.services[0]))
                .iter()
                .map(|s| s.id.0)
                .collect::<Vec<_>>(),
            [2]
        );

        service_of(&mut new, 0).servers[1].state = ServerState::Drain;
        assert_eq!(changes(&old, &new)[0].deleted, 1);
        assert!(lost(&old.services[0], Some(&new.services[0])).is_empty());
    }

    #[test]
    fn only_what_differs_is_a_pair_whatever_the_order() {
        let old = set(vec![
            service("www", 3),
            service("dns", 1),
            service("ftp", 1),
        ]);
        let mut new = old.clone();
        service_of(&mut new, 1).servers[0].state = ServerState::Down;
        let names = |pairs: Vec<Pair<'_>>| -> Vec<(bool, String)> {
            let name = |p: &Pair<'_>| p.after.or(p.before).unwrap().name.clone();
            pairs.iter().map(|p| (p.reshaped(), name(p))).collect()
        };
        assert_eq!(names(pairs(&old, &new)), [(false, "dns".to_owned())]);
        new.services.remove(0);
        new.services.reverse();
        service_of(&mut new, 0).listeners[0].port = 21;
        assert_eq!(
            names(pairs(&old, &new)),
            [
                (true, "ftp".to_owned()),
                (false, "dns".to_owned()),
                (true, "www".to_owned())
            ]
        );
    }

    #[test]
    fn deactivation_and_removal_delete_all() {
        let old = set(vec![service("www", 3), service("dns", 1)]);
        let mut new = set(vec![service("www", 3)]);
        service_of(&mut new, 0).active = false;
        let got = changes(&old, &new);
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].deleted, got[0].rules), (3, Some(false)));
        assert_eq!(
            (got[1].name.as_str(), got[1].deleted, got[1].rules),
            ("dns", 1, Some(false))
        );
    }
}
