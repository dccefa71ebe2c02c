//! The userland backend: redirects without any privilege, forwarded by the relay processes.
//! Owns the desired state and the counters that relay processes report; a callback carries the services to them.
//! Must never open a socket: listeners are the parent's, connections the relay processes'.

use crate::filter::{
    Capabilities, FilterError, PacketFilter, Publisher, Ruleset, Service, ServiceStatistics,
    TableChange, diff, support,
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
    sessions: BTreeMap<RedirectId, BTreeMap<HostId, u64>>,
}

impl Userland {
    /// A backend that hands every new state to `publisher`.
    pub fn new(publisher: Publisher) -> Userland {
        Userland {
            publisher,
            current: Ruleset::default(),
            sessions: BTreeMap::new(),
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
            let hosts: Vec<(HostId, u64)> = self
                .sessions
                .get(&service.id)
                .map(|h| h.iter().map(|(id, n)| (*id, *n)).collect())
                .unwrap_or_default();
            ServiceStatistics {
                id: service.id,
                sessions: hosts.iter().map(|(_, n)| n).sum(),
                hosts,
                traffic: Vec::new(),
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

    fn count(&mut self, sessions: &[(RedirectId, HostId, u64)]) {
        for (service, host, new) in sessions {
            let hosts = self.sessions.entry(*service).or_default();
            let total = hosts.entry(*host).or_default();
            *total = total.saturating_add(*new);
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
        self.sessions.clear();
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
        filter.count(&[(RedirectId(1), HostId(1), 2), (RedirectId(1), HostId(2), 3)]);
        filter.count(&[(RedirectId(1), HostId(1), 5)]);
        let got = filter.statistics().unwrap();
        assert_eq!(got[0].sessions, 10);
        assert_eq!(got[0].hosts, [(HostId(1), 7), (HostId(2), 3)]);
    }
}
