//! The userland backend: redirects without any privilege, forwarded by the relay processes.
//! Owns the desired state and the counters that relay processes report; a callback carries the services to them.
//! Must never open a socket: listeners are the parent's, connections the relay processes'.

use crate::filter::{
    Capabilities, FilterError, Forwarded, PacketFilter, Publisher, Ruleset, Service,
    ServiceStatistics, TableChange, Traffic, diff, support,
};
use conf::model::{Forward, HostId, Mode, RedirectId};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

/// Publishes services.
pub struct Userland {
    publisher: Publisher,
    current: Ruleset,
    counts: BTreeMap<RedirectId, BTreeMap<HostId, (u64, Traffic)>>,
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
        let changes = diff::changes(&self.current, desired);
        self.publish(desired.clone());
        Ok(changes)
    }

    fn statistics(&mut self) -> Result<Vec<ServiceStatistics>, FilterError> {
        let count = |service: &Arc<Service>| {
            let counts = self.counts.get(&service.id).into_iter().flatten();
            let hosts: Vec<(HostId, u64)> = counts.clone().map(|(id, (n, _))| (*id, *n)).collect();
            ServiceStatistics {
                id: service.id,
                sessions: hosts.iter().map(|(_, n)| n).sum(),
                hosts,
                traffic: match service.count_traffic {
                    true => counts.map(|(id, (_, traffic))| (*id, *traffic)).collect(),
                    false => Vec::new(),
                },
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
        for new in forwarded {
            let hosts = self.counts.entry(new.id).or_default();
            let (sessions, traffic) = hosts.entry(new.host).or_default();
            *sessions = sessions.saturating_add(new.sessions);
            *traffic += new.traffic;
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
}
