//! Small configurations for the tests of pfe.

use conf::Config;
use conf::model::{Address, Check, Host, HostId, Table, TableId};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Tables `t1:80`, `t2:80` … with this many hosts each, checked by tcp; hosts are called by their address.
pub fn config(hosts: &[u32]) -> Config {
    let mut config = Config::default();
    let mut next = 1;
    for (number, count) in (1..).zip(hosts) {
        let hosts = (0..*count)
            .map(|_| {
                let ip = Ipv4Addr::from(0x7f00_0000 + next);
                let host = Host {
                    id: HostId(next),
                    name: ip.to_string(),
                    address: Address::from(IpAddr::V4(ip)),
                    retry: 0,
                    parent: None,
                    priority: 0,
                    ip_ttl: 0,
                    weight: 1,
                    max_connections: None,
                };
                next += 1;
                host
            })
            .collect();
        config.tables.push(Table {
            id: TableId(number),
            name: format!("t{number}:80"),
            template: format!("t{number}"),
            port: 80,
            disabled: false,
            check: Check::Tcp { tls: false },
            timeout: Duration::from_millis(200),
            interval: Duration::from_secs(10),
            demote: None,
            slow_start: None,
            queue: None,
            hosts,
        });
    }
    config
}
