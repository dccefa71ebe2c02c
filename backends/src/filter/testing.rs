//! Services for unit tests.
//! Owns small builders.
//! Must never be compiled into the daemon.

use super::{Server, ServerState, Service};
use conf::model::{Address, Forward, HashKey, HostId, Mode, RedirectId, TableId, VirtualAddress};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// An active service `name` with `hosts` hosts 10.0.0.1 … that are up, on 192.0.2.1 TCP port 80.
pub fn service(name: &str, hosts: u8) -> Service {
    Service {
        id: RedirectId(1),
        name: name.to_owned(),
        active: true,
        listeners: vec![listener("192.0.2.1", 80)],
        table: TableId(1),
        table_name: format!("{name}:80"),
        servers: (1..=hosts).map(server).collect(),
        keep_port: false,
        port: 80,
        mode: Mode::RoundRobin,
        key: HashKey([7; 16]),
        forward: Forward::Translate,
        sticky: false,
        tag: None,
        session_timeout: Duration::from_secs(600),
        masquerade: false,
        count_traffic: false,
    }
}

/// Host `n` of table 1: 10.0.0.`n` port 80, up.
pub fn server(n: u8) -> Server {
    Server {
        id: HostId(u32::from(n)),
        table: TableId(1),
        name: format!("10.0.0.{n}"),
        address: Address::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))),
        port: 80,
        weight: 1,
        max_connections: None,
        state: ServerState::Up,
    }
}

/// TCP on `address`:`port`.
pub fn listener(address: &str, port: u16) -> VirtualAddress {
    VirtualAddress {
        address: Address::from(
            address
                .parse::<IpAddr>()
                .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ),
        ip_protocol: 6,
        port,
        port_end: port,
        interface: None,
        log: false,
    }
}
