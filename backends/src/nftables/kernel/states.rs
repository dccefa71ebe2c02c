//! Connections of hosts: ended when a host goes, counted for `least-states` and for limits.
//! Owns what the backend does besides rules, in `apply` and every second.
//! Must never fail a change of rules because connections could not be counted.

use super::{Change, Installed, Nftables, conntrack, dump};
use crate::filter::{FilterError, Ruleset, Service, TableChange, diff};
use crate::nftables::model::{Family, HOST_MASK, Ip, REDIRECT_MASK};
use crate::nftables::service::identifier;
use crate::nftables::slots::{self, Candidate};
use conf::model::{HostId, Mode, RedirectId};
use std::collections::BTreeMap;
use std::io;

const TCP: u8 = 6;
const UDP: u8 = 17;

impl Nftables {
    /// Ends connections of hosts that `current` does not serve any more: UDP always, since a client that only sends
    /// would keep its entry for ever; TCP if so configured.
    pub(super) fn end_lost(&mut self, before: &Ruleset, changes: &mut [TableChange]) {
        let current = std::mem::take(&mut self.current);
        let after: BTreeMap<&str, &Service> = current
            .services
            .iter()
            .map(|s| (s.name.as_str(), s))
            .collect();
        for old in &before.services {
            let new = after.get(old.name.as_str()).copied();
            if new == Some(old) {
                continue;
            }
            match self.end_lost_of(old, new) {
                Ok(killed) => {
                    let change = changes.iter_mut().find(|c| c.name == old.name);
                    if let Some(change) = change {
                        change.killed = killed;
                    }
                }
                Err(error) => self.notices.push(format!(
                    "redirect {}: states of lost hosts were not killed: {error}",
                    old.name
                )),
            }
        }
        self.current = current;
    }

    fn end_lost_of(&mut self, old: &Service, new: Option<&Service>) -> io::Result<u32> {
        let Some(numbered) = self.numbers.get(&old.name) else {
            return Ok(0);
        };
        let has = |protocol| old.listeners.iter().any(|l| l.ip_protocol == protocol);
        let which = match (has(TCP), has(UDP), self.settings.kill_tcp) {
            (true, false, false) => return Ok(0),
            (true, true, false) => Some(UDP),
            _ => None,
        };
        let marks: BTreeMap<u32, Ip> = diff::lost(old, new)
            .iter()
            .map(|s| (numbered.mark(s, old.keep_port), Ip::from(s.address.ip)))
            .collect();
        let redirect = numbered.redirect;
        if marks.is_empty() {
            return Ok(0);
        }
        let counts = conntrack::count(&mut self.netlink, redirect, REDIRECT_MASK, which)?;
        let mut killed = 0;
        for (mark, ip) in marks {
            if let Some(count) = counts.get(&mark) {
                let only = which.map(|protocol| (protocol, ip));
                conntrack::kill(&mut self.netlink, mark, u32::MAX, only)?;
                killed += count;
            }
        }
        Ok(killed)
    }

    /// Ends all connections of a host of a service, or of the service.
    pub(super) fn kill_states(
        &mut self,
        service: RedirectId,
        host: Option<HostId>,
    ) -> Result<u32, FilterError> {
        let Some(service) = self.current.services.iter().find(|s| s.id == service) else {
            return Ok(0);
        };
        let Some(numbered) = self.numbers.get(&service.name) else {
            return Ok(0);
        };
        let (mark, mask) = match host {
            None => (numbered.redirect, REDIRECT_MASK),
            Some(host) => match service.servers.iter().find(|s| s.id == host) {
                Some(server) => (numbered.mark(server, service.keep_port), u32::MAX),
                None => return Ok(0),
            },
        };
        let answer = conntrack::count(&mut self.netlink, mark, mask, None);
        let count = self.asked(answer)?.values().sum();
        let answer = conntrack::kill(&mut self.netlink, mark, mask, None);
        self.asked(answer)?;
        Ok(count)
    }

    /// Somebody else changed our table: everything anew.
    pub(super) fn put_right(&mut self) -> Result<Option<String>, FilterError> {
        // What an earlier attempt could not put right is still to be done.
        self.disturbed |= self.monitor.as_ref().is_some_and(|m| m.foreign_change());
        if !self.disturbed {
            return Ok(None);
        }
        self.resync = true;
        let current = self.current.clone();
        self.own()?;
        self.install_with_relays(&current)?;
        self.disturbed = false;
        Ok(Some(format!(
            "nftables table {} was changed by somebody else and is restored",
            self.table
        )))
    }

    fn packets(&mut self, counter: &str) -> Result<u64, FilterError> {
        let answer = dump::packets(&mut self.netlink, Family::Inet, &self.table, counter);
        Ok(self.asked(answer)?.unwrap_or(0))
    }

    /// New pick lists for `least-states`, where states differ.
    pub(super) fn balance_states(&mut self) -> Result<(), FilterError> {
        let services: Vec<Service> = self
            .current
            .services
            .iter()
            .filter(|s| s.active && s.mode == Mode::LeastStates)
            .cloned()
            .collect();
        for service in services {
            let Some(numbered) = self.numbers.get(&service.name).cloned() else {
                continue;
            };
            let counter = format!("c_{}", identifier(&service.name, &numbered));
            let sessions = self.packets(&counter)?;
            let counted =
                conntrack::count(&mut self.netlink, numbered.redirect, REDIRECT_MASK, None);
            let counts = self.asked(counted)?;
            let Some(installed) = self.installed.get_mut(&service.name) else {
                continue;
            };
            let new = sessions.saturating_sub(installed.sessions);
            installed.sessions = sessions;
            let expected = usize::try_from(new)
                .unwrap_or(usize::MAX)
                .min(slots::PICKS_MAX);
            let picks = picks(&service, &numbered, &counts, expected);
            if installed.picks != picks {
                installed.picks = picks;
                self.rebuild(&service, true)?;
            }
        }
        Ok(())
    }

    /// The kernel counts a connection for every host it tried, also for those that passed it on. After an overflow, the
    /// limited hosts get what is really left of their limits.
    pub(super) fn balance_limits(&mut self) -> Result<(), FilterError> {
        let limited: Vec<Service> = self
            .current
            .services
            .iter()
            .filter(|s| s.active && s.servers.iter().any(|h| h.max_connections.is_some()))
            .cloned()
            .collect();
        for service in limited {
            let Some(numbered) = self.numbers.get(&service.name).cloned() else {
                continue;
            };
            let name = identifier(&service.name, &numbered);
            let mut overflows = 0;
            for ip in Ip::BOTH {
                overflows += self.packets(&format!("o{}_{name}", ip.digit()))?;
            }
            let known = self.installed.get(&service.name).map_or(0, |i| i.overflows);
            if overflows == known {
                continue;
            }
            let counted =
                conntrack::count(&mut self.netlink, numbered.redirect, REDIRECT_MASK, None);
            let counts = self.asked(counted)?;
            let mut remaining = BTreeMap::new();
            for server in &service.servers {
                if let Some(limit) = server.max_connections {
                    let mark = numbered.mark(server, service.keep_port);
                    let used = counts.get(&mark).copied().unwrap_or(0);
                    remaining.insert(mark, (limit, limit.saturating_sub(used)));
                }
            }
            if let Some(installed) = self.installed.get_mut(&service.name) {
                installed.overflows = overflows;
                installed.remaining = remaining;
            }
            self.rebuild(&service, false)?;
        }
        Ok(())
    }

    /// Writes one service anew; with `restart`, its choice of hosts begins at the first slot.
    fn rebuild(&mut self, service: &Service, restart: bool) -> Result<(), FilterError> {
        let new: Installed = self.build(service)?;
        let mut change = Change::default();
        if let Some(old) = self.installed.get(&service.name) {
            change.compare(&old.fragment, &new.fragment);
        }
        if restart {
            change.rewrite_chains(&new.fragment, "r_");
        }
        // Even where the number is the same: the kernel's list of connections shall begin anew.
        change.capped.extend(new.limits.keys());
        self.update(&change)?;
        self.installed.insert(service.name.clone(), new);
        Ok(())
    }
}

fn picks(
    service: &Service,
    numbered: &crate::nftables::numbers::Numbered,
    counts: &BTreeMap<u32, u32>,
    expected: usize,
) -> BTreeMap<Ip, Vec<u32>> {
    let states = |mark: u32| u64::from(counts.get(&mark).copied().unwrap_or(0));
    Ip::BOTH
        .into_iter()
        .map(|ip| {
            let candidates: Vec<Candidate> = service
                .usable()
                .filter(|s| Ip::from(s.address.ip) == ip)
                .map(|s| Candidate {
                    mark: numbered.mark(s, service.keep_port),
                    label: String::new(),
                    weight: s.weight,
                    usable: true,
                })
                .filter(|c| c.mark & HOST_MASK != 0)
                .collect();
            (ip, slots::least_states(&candidates, states, expected))
        })
        .collect()
}
