//! The userland backend: redirects without any privilege, forwarded by the relay processes.
//! Owns the desired state and the counters that relay processes report; a callback carries the services to them.
//! Must never open a socket: listeners are the parent's, connections the relay processes'. Must never leave a counter to
//! another redirect or host that gets the same id.

use crate::filter::{
    Capabilities, FilterError, Forwarded, PacketFilter, Publisher, Ruleset, Server, Service,
    ServiceStatistics, TableChange, Traffic,
    diff::{self, Pair},
    support,
};
use conf::model::{Forward, HostId, Mode, RedirectId};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

/// What relay processes counted for one service.
#[derive(Debug, Default)]
struct Counts {
    /// Of all hosts, also of those that are gone.
    sessions: u64,
    traffic: Traffic,
    hosts: BTreeMap<HostId, (u64, Traffic)>,
}

impl Counts {
    fn add(&mut self, new: &Forwarded, known: bool) {
        self.sessions = self.sessions.saturating_add(new.sessions);
        self.traffic += new.traffic;
        if known {
            let (sessions, traffic) = self.hosts.entry(new.host).or_default();
            *sessions = sessions.saturating_add(new.sessions);
            *traffic += new.traffic;
        }
    }

    /// Forgets hosts that are not the same in both states of the service.
    fn keep(&mut self, before: &Service, after: &Service) {
        let old: HashMap<HostId, &Server> = before.servers.iter().map(|s| (s.id, s)).collect();
        let same = |new: &&Server| {
            let old = old.get(&new.id);
            old.is_some_and(|old| old.name == new.name && old.address == new.address)
        };
        let kept = after.servers.iter().filter(same);
        let mut hosts = std::mem::take(&mut self.hosts);
        self.hosts = kept
            .filter_map(|server| hosts.remove_entry(&server.id))
            .collect();
    }
}

/// Publishes services.
pub struct Userland {
    publisher: Publisher,
    current: Ruleset,
    counts: BTreeMap<RedirectId, Counts>,
}

impl Userland {
    /// A backend that hands every new state to `publisher`.
    pub fn new(publisher: Publisher) -> Userland {
        Userland {
            publisher,
            current: Ruleset::default(),
            counts: BTreeMap::new(),
        }
    }

    /// Forgets the counters of what is gone.
    fn forget(counts: &mut BTreeMap<RedirectId, Counts>, pairs: &[Pair<'_>]) {
        for pair in pairs {
            let Some(before) = pair.before else {
                continue;
            };
            match pair.after.filter(|after| after.id == before.id) {
                Some(after) => {
                    if let Some(counts) = counts.get_mut(&after.id) {
                        counts.keep(before, after);
                    }
                }
                None => {
                    counts.remove(&before.id);
                }
            }
        }
    }

    fn publish(&mut self, desired: Ruleset) {
        if self.current != desired {
            self.current = desired;
            let services = self.current.services.iter();
            (self.publisher)(services.map(|s| Service::clone(s)).collect());
        }
    }
}

impl PacketFilter for Userland {
    fn name(&self) -> &'static str {
        "userland"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            route: false,
            tag: false,
            match_only: false,
            interface: false,
            log: false,
            sticky: true,
            least_states: true,
            ranges: true,
            udp: true,
            nat_lookup: false,
            needs_listeners: true,
        }
    }

    fn adopt(&mut self) -> Result<(), FilterError> {
        Ok(())
    }

    fn apply(&mut self, desired: &Ruleset) -> Result<Vec<TableChange>, FilterError> {
        support::check(desired, self.capabilities(), self.name())?;
        let pairs = diff::pairs(&self.current, desired);
        Userland::forget(&mut self.counts, &pairs);
        let changes = diff::described(&pairs);
        self.publish(desired.clone());
        Ok(changes)
    }

    fn statistics(&mut self) -> Result<Vec<ServiceStatistics>, FilterError> {
        let count = |service: &Arc<Service>| {
            let counts = self.counts.get(&service.id);
            let hosts = counts.into_iter().flat_map(|counts| &counts.hosts);
            let counted = service.count_traffic;
            ServiceStatistics {
                id: service.id,
                sessions: counts.map_or(0, |counts| counts.sessions),
                hosts: hosts.clone().map(|(id, (n, _))| (*id, *n)).collect(),
                traffic: match counted {
                    true => hosts.map(|(id, (_, traffic))| (*id, *traffic)).collect(),
                    false => Vec::new(),
                },
                traffic_sum: counts.filter(|_| counted).map(|counts| counts.traffic),
            }
        };
        Ok(self.current.services.iter().map(count).collect())
    }

    fn kill(&mut self, _service: RedirectId, _host: Option<HostId>) -> Result<u32, FilterError> {
        // Relay processes drop what belongs to a host that is down when they get the new state.
        Ok(0)
    }

    fn nat_lookup(
        &mut self,
        _ip_protocol: u8,
        _client: SocketAddr,
        _local: SocketAddr,
    ) -> Result<Option<SocketAddr>, FilterError> {
        Ok(None)
    }

    fn count(&mut self, forwarded: &[Forwarded]) {
        let services = self.current.services.iter();
        let services: HashMap<RedirectId, &Arc<Service>> = services.map(|s| (s.id, s)).collect();
        for new in forwarded {
            // Sessions of a redirect that is gone may still go on.
            let Some(service) = services.get(&new.id) else {
                continue;
            };
            let known = service.servers.iter().any(|s| s.id == new.host);
            self.counts.entry(new.id).or_default().add(new, known);
        }
    }

    fn release(&mut self) -> Result<(), FilterError> {
        let mut idle = self.current.clone();
        for service in &mut idle.services {
            Arc::make_mut(service).active = false;
        }
        self.publish(idle);
        Ok(())
    }

    fn purge(&mut self) -> Result<(), FilterError> {
        self.publish(Ruleset::default());
        self.counts.clear();
        Ok(())
    }

    fn preview(&self, desired: &Ruleset) -> String {
        let mut text = String::new();
        for service in &desired.services {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "redirect {} {{", service.name);
            for l in &service.listeners {
                let protocol = if l.ip_protocol == 17 { "udp" } else { "tcp" };
                let _ = write!(text, "\tlisten {protocol} {}", l.address.with_port(l.port));
                let _ = match l.port_end == l.port {
                    true => writeln!(text),
                    false => writeln!(text, " to {}", l.port_end),
                };
            }
            let sticky = if service.sticky { " sticky" } else { "" };
            let _ = writeln!(text, "\tmode {}{sticky}", mode(service));
            for server in service.usable() {
                let port = if service.keep_port { 0 } else { server.port };
                let _ = writeln!(text, "\tforward {}", server.address.with_port(port));
            }
            text.push_str("}\n");
        }
        text
    }
}

fn mode(service: &Service) -> &'static str {
    match service.forward {
        Forward::Translate => Mode::keyword(service.mode),
        Forward::Route { .. } => "(not possible)",
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::*;
    use crate::filter::testing::service;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn backend() -> (Userland, Rc<RefCell<Vec<Vec<Service>>>>) {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&seen);
        let publisher: Publisher = Box::new(move |s| sink.borrow_mut().push(s));
        (Userland::new(publisher), seen)
    }

    #[test]
    fn publishes_only_changes() {
        let (mut filter, seen) = backend();
        let wanted: Ruleset = [service("www", 2)].into_iter().collect();
        assert_eq!(filter.apply(&wanted).unwrap()[0].added, 2);
        assert!(filter.apply(&wanted).unwrap().is_empty());
        assert_eq!(seen.borrow().len(), 1);
        filter.release().unwrap();
        assert!(!seen.borrow()[1][0].active);
        filter.purge().unwrap();
        assert!(seen.borrow()[2].is_empty());
    }

    #[test]
    fn refuses_what_it_cannot_do_and_applies_nothing() {
        let (mut filter, seen) = backend();
        let mut wanted: Ruleset = [service("www", 2)].into_iter().collect();
        Arc::make_mut(&mut wanted.services[0]).forward = Forward::Route {
            interface: "em0".to_owned(),
        };
        let error = filter.apply(&wanted).unwrap_err().to_string();
        assert_eq!(
            error,
            "redirect www: `route to` is not possible with the userland packet filter"
        );
        assert!(seen.borrow().is_empty());
    }

    #[test]
    fn sums_what_relay_processes_count() {
        let (mut filter, _) = backend();
        let wanted: Ruleset = [service("www", 2)].into_iter().collect();
        filter.apply(&wanted).unwrap();
        let new = |host, sessions, bytes_in| Forwarded {
            id: RedirectId(1),
            host: HostId(host),
            sessions,
            traffic: Traffic {
                bytes_in,
                ..Traffic::default()
            },
        };
        filter.count(&[new(1, 2, 100), new(2, 3, 0)]);
        filter.count(&[new(1, 5, 20)]);
        let got = filter.statistics().unwrap();
        assert_eq!(got[0].sessions, 10);
        assert_eq!(got[0].hosts, [(HostId(1), 7), (HostId(2), 3)]);
        assert_eq!(got[0].traffic, [], "not asked for");
        let mut counting = wanted.clone();
        Arc::make_mut(&mut counting.services[0]).count_traffic = true;
        filter.apply(&counting).unwrap();
        let got = filter.statistics().unwrap();
        assert_eq!(got[0].traffic[0].1.bytes_in, 120);
    }

    #[test]
    fn who_gets_the_id_of_something_gone_begins_at_zero() {
        let (mut filter, _) = backend();
        let mut www = service("www", 3);
        www.count_traffic = true;
        let apply = |filter: &mut Userland, services: &[&Service]| {
            let wanted: Ruleset = services.iter().copied().cloned().collect();
            filter.apply(&wanted).unwrap();
        };
        let bytes = |bytes_in| Traffic {
            bytes_in,
            ..Traffic::default()
        };
        let new = |id, host| Forwarded {
            id: RedirectId(id),
            host: HostId(host),
            sessions: 1,
            traffic: bytes(100),
        };
        let mut other = service("other", 2);
        other.id = RedirectId(2);
        apply(&mut filter, &[&www, &other]);
        filter.count(&[new(1, 1), new(1, 3), new(2, 1)]);
        // A host goes, then another one gets its id: the sum of its redirect goes on.
        let gone = www.servers.pop().unwrap();
        apply(&mut filter, &[&www, &other]);
        filter.count(&[new(1, 3)]);
        www.servers.push(Server {
            name: "10.0.0.9".to_owned(),
            ..gone
        });
        apply(&mut filter, &[&www, &other]);
        let got = filter.statistics().unwrap();
        assert_eq!(got[0].hosts, [(HostId(1), 1)]);
        assert_eq!(got[0].traffic, [(HostId(1), bytes(100))]);
        assert_eq!(got[0].sessions, 3);
        assert_eq!(got[0].traffic_sum, Some(bytes(300)));
        assert_eq!(got[1].sessions, 1);
        // A redirect goes, then another one gets its id.
        apply(&mut filter, &[&www]);
        filter.count(&[new(2, 1)]);
        assert_eq!(filter.counts.len(), 1);
        other.name = "next".to_owned();
        apply(&mut filter, &[&www, &other]);
        assert_eq!(filter.statistics().unwrap()[1].sessions, 0);
        filter.count(&[new(2, 1)]);
        other.name = "renamed".to_owned();
        apply(&mut filter, &[&www, &other]);
        assert_eq!(filter.statistics().unwrap()[1].sessions, 0);
    }
}
