//! The recording backend: a daemon that can be tried without touching a packet filter.
//! Owns the last desired state and the list of calls.
//! Must never fail, nor do anything outside this process.

use crate::filter::{
    Capabilities, FilterError, PacketFilter, Ruleset, ServiceStatistics, TableChange, diff,
};
use conf::model::{HostId, RedirectId};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

/// Calls kept; older ones are forgotten, since a daemon may run for months with this backend.
const CALLS_MAX: usize = 10_000;

/// One call that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`PacketFilter::adopt`]
    Adopt,
    /// [`PacketFilter::apply`]
    Apply(Ruleset),
    /// [`PacketFilter::kill`]
    Kill(RedirectId, Option<HostId>),
    /// [`PacketFilter::release`]
    Release,
    /// [`PacketFilter::purge`]
    Purge,
}

/// Remembers calls.
#[derive(Debug, Default)]
pub struct Recording {
    current: Ruleset,
    calls: Rc<RefCell<Vec<Call>>>,
}

impl Recording {
    /// A fresh one.
    pub fn new() -> Recording {
        Recording::default()
    }

    /// The calls so far; stays valid after the backend was given away.
    pub fn calls(&self) -> Rc<RefCell<Vec<Call>>> {
        Rc::clone(&self.calls)
    }

    fn record(&self, call: Call) {
        let mut calls = self.calls.borrow_mut();
        if calls.len() >= CALLS_MAX {
            calls.remove(0);
        }
        calls.push(call);
    }
}

impl PacketFilter for Recording {
    fn name(&self) -> &'static str {
        "recording"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            route: true,
            tag: true,
            match_only: true,
            interface: true,
            log: true,
            sticky: true,
            least_states: true,
            ranges: true,
            udp: true,
            nat_lookup: false,
            needs_listeners: false,
        }
    }

    fn adopt(&mut self) -> Result<(), FilterError> {
        self.record(Call::Adopt);
        Ok(())
    }

    fn apply(&mut self, desired: &Ruleset) -> Result<Vec<TableChange>, FilterError> {
        let changes = diff::changes(&self.current, desired);
        self.current = desired.clone();
        self.record(Call::Apply(desired.clone()));
        Ok(changes)
    }

    fn statistics(&mut self) -> Result<Vec<ServiceStatistics>, FilterError> {
        let zero = |s: &std::sync::Arc<crate::filter::Service>| ServiceStatistics {
            id: s.id,
            sessions: 0,
            hosts: Vec::new(),
            traffic: Vec::new(),
            traffic_sum: None,
        };
        Ok(self.current.services.iter().map(zero).collect())
    }

    fn kill(&mut self, service: RedirectId, host: Option<HostId>) -> Result<u32, FilterError> {
        self.record(Call::Kill(service, host));
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

    fn release(&mut self) -> Result<(), FilterError> {
        self.record(Call::Release);
        self.current = Ruleset::default();
        Ok(())
    }

    fn purge(&mut self) -> Result<(), FilterError> {
        self.record(Call::Purge);
        self.current = Ruleset::default();
        Ok(())
    }

    fn preview(&self, desired: &Ruleset) -> String {
        format!("{desired:#?}\n")
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

    #[test]
    fn remembers_calls_and_counts_like_the_others() {
        let mut filter = Recording::new();
        let calls = filter.calls();
        filter.adopt().unwrap();
        let mut wanted: Ruleset = [service("www", 2)].into_iter().collect();
        assert_eq!(filter.apply(&wanted).unwrap()[0].added, 2);
        std::sync::Arc::make_mut(&mut wanted.services[0])
            .servers
            .pop();
        assert_eq!(filter.apply(&wanted).unwrap()[0].deleted, 1);
        filter.purge().unwrap();
        assert_eq!(filter.apply(&wanted).unwrap()[0].added, 1);
        assert_eq!(calls.borrow().len(), 5);
        assert_eq!(calls.borrow()[0], Call::Adopt);
    }
}
