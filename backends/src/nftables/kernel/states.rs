//! Connections of hosts: ended when a host goes, counted for `least-states` and for limits.
//! Owns what the backend does besides rules, in `apply` and every second.
//! Must never fail a change of rules because connections could not be counted.

use super::change::Change;
use super::socket::Netlink;
use super::{Balance, Installed, Nftables, conntrack, dump};
use crate::filter::diff::Pair;
use crate::filter::{FilterError, Service, TableChange, diff};
use crate::nftables::model::{Family, HOST_MASK, Ip, REDIRECT_MASK};
use crate::nftables::numbers::Numbered;
use crate::nftables::service::identifier;
use crate::nftables::slots::{self, Candidate};
use conf::model::{Forward, HostId, Mode, RedirectId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Hosts of one redirect whose connections shall end.
struct Lost {
    name: String,
    redirect: u32,
    /// One protocol only.
    which: Option<u8>,
    marks: BTreeMap<u32, Ip>,
}

/// Connections by mark, asked for once for all redirects of a round: the kernel walks through its whole table each time.
struct Counts {
    mark: u32,
    mask: u32,
    by_protocol: BTreeMap<Option<u8>, BTreeMap<u32, u32>>,
}

impl Counts {
    /// Counts for these redirects.
    fn of(redirects: impl Iterator<Item = u32>) -> Counts {
        let all: BTreeSet<u32> = redirects.collect();
        let one = all.first().filter(|_| all.len() == 1);
        Counts {
            mark: one.copied().unwrap_or(0),
            mask: one.map_or(0, |_| REDIRECT_MASK),
            by_protocol: BTreeMap::new(),
        }
    }

    fn all(
        &mut self,
        netlink: &mut Netlink,
        protocol: Option<u8>,
    ) -> io::Result<&BTreeMap<u32, u32>> {
        use std::collections::btree_map::Entry;
        match self.by_protocol.entry(protocol) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let counts = conntrack::count(netlink, self.mark, self.mask, protocol)?;
                Ok(place.insert(counts))
            }
        }
    }

    fn get(&mut self, netlink: &mut Netlink, mark: u32, protocol: Option<u8>) -> io::Result<u32> {
        let all = self.all(netlink, protocol)?;
        Ok(all.get(&mark).copied().unwrap_or(0))
    }
}

impl Nftables {
    /// Ends connections of hosts that are not served any more: UDP always, since a client that only sends would keep its
    /// entry for ever; TCP if so configured.
    pub(super) fn end_lost(&mut self, pairs: &[Pair<'_>], changes: &mut [TableChange]) {
        let lost: Vec<Lost> = pairs.iter().filter_map(|p| self.lost(p)).collect();
        let mut counts = Counts::of(lost.iter().map(|l| l.redirect));
        for lost in &lost {
            match self.end(lost, &mut counts) {
                Ok(killed) => {
                    let change = changes.iter_mut().find(|c| c.name == lost.name);
                    if let Some(change) = change {
                        change.killed = killed;
                    }
                }
                Err(error) => self.notices.push(format!(
                    "redirect {}: states of lost hosts were not killed: {error}",
                    lost.name
                )),
            }
        }
    }

    /// The hosts a change takes from a service, if their connections shall end.
    fn lost(&self, pair: &Pair<'_>) -> Option<Lost> {
        let (old, new) = (pair.before?, pair.after);
        let numbered = self.numbers.get(&old.name)?;
        let has = |protocol| old.listeners.iter().any(|l| l.ip_protocol == protocol);
        let which = match (has(TCP), has(UDP), self.settings.kill_tcp) {
            (true, false, false) => return None,
            (true, true, false) => Some(UDP),
            _ => None,
        };
        let marks: BTreeMap<u32, Ip> = diff::lost(old, new.map(AsRef::as_ref))
            .iter()
            .map(|s| (numbered.mark(s, old.keep_port), Ip::from(s.address.ip)))
            .collect();
        (!marks.is_empty()).then(|| Lost {
            name: old.name.clone(),
            redirect: numbered.redirect,
            which,
            marks,
        })
    }

    fn end(&mut self, lost: &Lost, counts: &mut Counts) -> io::Result<u32> {
        let mut killed = 0;
        for (mark, ip) in &lost.marks {
            let count = counts.get(&mut self.netlink, *mark, lost.which)?;
            if count > 0 {
                let only = lost.which.map(|protocol| (protocol, *ip));
                conntrack::kill(&mut self.netlink, *mark, u32::MAX, only)?;
                killed += count;
            }
        }
        Ok(killed)
    }

    /// Ends all connections of all redirects.
    pub(super) fn kill_all(&mut self) -> Result<(), FilterError> {
        let answer = conntrack::count(&mut self.netlink, 0, 0, None);
        let found: BTreeSet<u32> = self
            .asked(answer)?
            .into_keys()
            .map(|mark| mark & REDIRECT_MASK)
            .filter(|redirect| self.numbers.redirect_of(*redirect).is_some())
            .collect();
        for redirect in found {
            let answer = conntrack::kill(&mut self.netlink, redirect, REDIRECT_MASK, None);
            self.asked(answer)?;
        }
        Ok(())
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
        if service.forward != Forward::Translate {
            return self.kill_flows(mark, mask);
        }
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
        self.write_anew()?;
        self.disturbed = false;
        Ok(Some(format!(
            "nftables table {} was changed by somebody else and is restored",
            self.table
        )))
    }

    /// Everything from scratch, which needs no picture of the kernel.
    fn write_anew(&mut self) -> Result<(), FilterError> {
        self.resync = true;
        let current = self.current.clone();
        self.own()?;
        self.install_with_relays(&current, &[])
    }

    fn packets(&mut self, counter: &str) -> Result<u64, FilterError> {
        let answer = dump::packets(&mut self.netlink, Family::Inet, &self.table, counter);
        Ok(self.asked(answer)?.unwrap_or(0))
    }

    /// The active services of one kind, with their numbers.
    fn active(&self, which: impl Fn(&Service) -> bool) -> Vec<(Arc<Service>, Numbered)> {
        let services = self.current.services.iter();
        let chosen = services.filter(|s| s.active && which(s));
        chosen
            .filter_map(|s| Some((Arc::clone(s), self.numbers.get(&s.name)?.clone())))
            .collect()
    }

    /// New pick lists for `least-states`, where states differ.
    pub(super) fn balance_states(&mut self) -> Result<(), FilterError> {
        let services = self.active(|s| s.mode == Mode::LeastStates);
        let mut counts = Counts::of(services.iter().map(|(_, n)| n.redirect));
        let mut changed = Vec::new();
        for (service, numbered) in services {
            let counter = format!("c_{}", identifier(&service.name, &numbered));
            let sessions = self.packets(&counter)?;
            let counted = counts.all(&mut self.netlink, None);
            let counts = self.asked(counted)?;
            let Some(installed) = self.installed.get_mut(&service.name) else {
                continue;
            };
            let known = &mut installed.balance;
            let new = sessions.saturating_sub(known.sessions);
            let expected = usize::try_from(new)
                .unwrap_or(usize::MAX)
                .min(slots::PICKS_MAX);
            let picks = picks(&service, &numbered, counts, expected);
            if known.picks == picks {
                known.sessions = sessions;
                continue;
            }
            let balance = Balance {
                picks,
                remaining: known.remaining.clone(),
                sessions,
                overflows: known.overflows,
            };
            changed.push((service, balance));
        }
        self.rebuild(changed, true)
    }

    /// The kernel counts a connection for every host it tried, also for those that passed it on. After an overflow, the
    /// limited hosts get what is really left of their limits.
    pub(super) fn balance_limits(&mut self) -> Result<(), FilterError> {
        let limited = |s: &Service| s.servers.iter().any(|h| h.max_connections.is_some());
        let services = self.active(limited);
        let mut counts = Counts::of(services.iter().map(|(_, n)| n.redirect));
        let mut changed = Vec::new();
        for (service, numbered) in services {
            let name = identifier(&service.name, &numbered);
            let mut overflows = 0;
            for ip in Ip::BOTH {
                overflows += self.packets(&format!("o{}_{name}", ip.digit()))?;
            }
            let known = self.installed.get(&service.name).map(|i| &i.balance);
            let Some(known) = known.filter(|known| known.overflows != overflows) else {
                continue;
            };
            let mut balance = known.clone();
            let mut remaining = BTreeMap::new();
            for server in &service.servers {
                if let Some(limit) = server.max_connections {
                    let mark = numbered.mark(server, service.keep_port);
                    let used = counts.get(&mut self.netlink, mark, None);
                    let used = self.asked(used)?;
                    remaining.insert(mark, (limit, limit.saturating_sub(used)));
                }
            }
            balance.overflows = overflows;
            balance.remaining = remaining;
            changed.push((service, balance));
        }
        self.rebuild(changed, false)
    }

    /// Writes services anew in one transaction; with `restart`, their choice of hosts begins at the first slot. What is
    /// known of them changes only with the kernel.
    fn rebuild(
        &mut self,
        services: Vec<(Arc<Service>, Balance)>,
        restart: bool,
    ) -> Result<(), FilterError> {
        let mut change = Change::default();
        let mut parts = Vec::new();
        for (service, balance) in services {
            let new: Installed = self.build(&service, balance)?;
            if let Some(old) = self.installed.get(&service.name) {
                change.compare(&old.fragment, &new.fragment);
            }
            if restart {
                change.rewrite_chains(&new.fragment, "r_");
            }
            // Even where the number is the same: the kernel's list of connections shall begin anew.
            change.capped.extend(new.limits.keys());
            parts.push((service.name.clone(), new));
        }
        if self.update(&change).is_err() {
            // Our picture of the kernel was wrong; the next tick balances again.
            return self.write_anew();
        }
        self.installed.extend(parts);
        Ok(())
    }
}

fn picks(
    service: &Service,
    numbered: &Numbered,
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
