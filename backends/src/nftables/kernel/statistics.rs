//! Sessions of redirects and hosts, packets and bytes, as the kernel counted them.
//! Owns the sum of what lives and what was rescued from elements that went.
//! Must never change anything.

use super::socket::Netlink;
use super::{Nftables, dump};
use crate::filter::{FilterError, ServiceStatistics, Traffic};
use crate::nftables::layout;
use crate::nftables::model::Family;
use crate::nftables::service;
use conf::model::HostId;
use std::collections::BTreeMap;

impl Nftables {
    /// Packets and bytes by mark; empty unless they are counted.
    fn traffic(&mut self) -> Result<BTreeMap<u32, Traffic>, FilterError> {
        let mut all: BTreeMap<u32, Traffic> = BTreeMap::new();
        if !self.current.services.iter().any(|s| s.count_traffic) {
            return Ok(all);
        }
        let [from_clients, to_clients] = layout::TRAFFIC;
        let of =
            |netlink: &mut Netlink, family, set| dump::counters(netlink, family, &self.table, set);
        let mut incoming = vec![of(&mut self.netlink, Family::Inet, from_clients)];
        if self.netdev {
            incoming.push(of(&mut self.netlink, Family::Netdev, from_clients));
        }
        let outgoing = of(&mut self.netlink, Family::Inet, to_clients);
        for counters in incoming {
            for (mark, (packets, bytes)) in self.asked(counters)? {
                let entry = all.entry(mark).or_default();
                (entry.packets_in, entry.bytes_in) = (packets, bytes);
            }
        }
        for (mark, (packets, bytes)) in self.asked(outgoing)? {
            let entry = all.entry(mark).or_default();
            (entry.packets_out, entry.bytes_out) = (packets, bytes);
        }
        Ok(all)
    }

    /// Counters of all services.
    pub(super) fn count_all(&mut self) -> Result<Vec<ServiceStatistics>, FilterError> {
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
            let ever = numbered.hosts.values();
            all.push(ServiceStatistics {
                id: service.id,
                hosts: hosts.iter().filter_map(sessions_of).collect(),
                traffic: hosts.iter().filter_map(traffic_of).collect(),
                traffic_sum: Traffic::sum(ever.filter_map(|mark| traffic.get(mark).copied())),
                sessions: sessions.get(counter.as_str()).copied().unwrap_or(0),
            });
        }
        Ok(all)
    }
}
