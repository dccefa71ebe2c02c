//! Services and backends for tests in a [`Network`].
//! Owns builders.
//! Must never assume a configuration file.

use super::{Network, Server, VIRTUAL, names};
use backends::filter::{PacketFilter, Ruleset, Server as Host, ServerState, Service};
use backends::nftables::kernel::Nftables;
use conf::model::{Address, Forward, HashKey, HostId, Mode, RedirectId, TableId, VirtualAddress};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub const PORT: u16 = 80;
pub const SERVER_PORT: u16 = 8080;

pub fn listener(address: &str, ip_protocol: u8, port: u16) -> VirtualAddress {
    VirtualAddress {
        address: Address::from(address.parse::<IpAddr>().unwrap()),
        ip_protocol,
        port,
        port_end: port,
        interface: None,
        log: false,
    }
}

/// TCP and UDP on both virtual addresses, `hosts` servers of both families in the main table, none in the backup.
pub fn service(name: &str, hosts: usize) -> Service {
    let host = |(n, v6): (usize, bool)| Host {
        id: HostId(u32::try_from(n).unwrap() + 1 + if v6 { 100 } else { 0 }),
        table: TableId(1),
        name: Network::address(n, v6).to_string(),
        address: Address::from(Network::address(n, v6)),
        port: SERVER_PORT,
        weight: 1,
        max_connections: None,
        state: ServerState::Up,
    };
    let both = [false, true];
    Service {
        id: RedirectId(1),
        name: name.to_owned(),
        active: true,
        listeners: VIRTUAL
            .into_iter()
            .flat_map(|a| [listener(a, 6, PORT), listener(a, 17, PORT)])
            .collect(),
        table: TableId(1),
        table_name: format!("{name}:{SERVER_PORT}"),
        servers: both
            .into_iter()
            .flat_map(|v6| (0..hosts).map(move |n| (n, v6)))
            .map(host)
            .collect(),
        keep_port: false,
        port: SERVER_PORT,
        mode: Mode::RoundRobin,
        key: HashKey(*b"0123456789abcdef"),
        forward: Forward::Translate,
        sticky: false,
        tag: None,
        session_timeout: Duration::from_secs(600),
        masquerade: false,
        count_traffic: false,
    }
}

pub fn rules(services: &[&Service]) -> Ruleset {
    services.iter().map(|s| (*s).clone()).collect()
}

pub fn set_state(service: &mut Service, host: usize, state: ServerState) {
    for server in &mut service.servers {
        if server.id.0 % 100 == u32::try_from(host).unwrap() + 1 {
            server.state = state;
        }
    }
}

pub fn virtuals(port: u16) -> [SocketAddr; 2] {
    VIRTUAL.map(|a| SocketAddr::new(a.parse().unwrap(), port))
}

/// Starts one server in each server namespace, called s0, s1 …
pub fn start_servers(network: &Network) -> Vec<Server> {
    let all = network.servers.iter().enumerate();
    all.map(|(n, ns)| Server::start(ns, SERVER_PORT, &format!("s{n}")))
        .collect()
}

/// The backend in the balancer's namespace; the calling thread stays there.
pub fn backend(network: &Network) -> Nftables {
    network.balancer.enter();
    let mut filter = Nftables::open("relayd").unwrap();
    filter.adopt().unwrap();
    filter
}

pub fn from_client<T: Send + 'static>(
    network: &Network,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    network.client.run(work).join().unwrap()
}

pub fn spread(network: &Network, to: SocketAddr, count: usize) -> Vec<String> {
    from_client(network, move || names(to, count))
}

/// A new backend after the old one was dropped. Programs that other tests start may still hold the old socket for a
/// moment, and with it the table.
pub fn successor() -> Nftables {
    let mut filter = Nftables::open("relayd").unwrap();
    super::until("the table is free", || filter.adopt().is_ok());
    filter
}

/// Lines of a listing without what changes by itself: counters, order of elements, the owner's name.
pub fn normalised(listing: &str) -> Vec<String> {
    let mut text = listing.replace("\n\t\t\t     ", " ");
    while let Some(at) = text.find(" # progname") {
        let end = text[at..].find('\n').unwrap() + at;
        text.replace_range(at..end, "");
    }
    let mut lines: Vec<String> = text
        .lines()
        .filter(|l| !l.is_empty() && l.trim() != "flags owner")
        .map(|line| match line.trim().strip_prefix("elements = { ") {
            None => line.to_owned(),
            Some(elements) => {
                let elements = elements.strip_suffix(" }").unwrap();
                let mut elements: Vec<&str> = elements.split(", ").collect();
                elements.sort_unstable();
                format!("elements {}", elements.join(", "))
            }
        })
        .collect();
    // Objects and chains come in the order of their making.
    lines.sort();
    lines
}

/// Compares a preview with what the kernel holds, line by line.
pub fn assert_same(preview: &str, listing: &str) {
    let (left, right) = (normalised(preview), normalised(listing));
    for line in &right {
        assert!(left.contains(line), "not in the preview: {line}\n{preview}");
    }
    for line in &left {
        assert!(right.contains(line), "not in the kernel: {line}\n{listing}");
    }
    assert_eq!(left.len(), right.len());
}
