//! The nftables backend with real connections through network namespaces, both address families.
#![cfg(all(target_os = "linux", feature = "nftables"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use backends::filter::{Kind, PacketFilter, Relayed, Ruleset, ServerState, Service, surroundings};
use backends::nftables::kernel::Nftables;
use conf::model::{Mode, RedirectId, TableId};
use network::services::{
    PORT, assert_same, backend, from_client, listener, rules, service, set_state, spread,
    start_servers, successor, virtuals,
};
use network::{Network, Server, alive, ask, open, tally};
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread;

#[test]
fn connections_spread_and_a_removed_server_gets_nothing() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 3);
    let changes = filter.apply(&rules(&[&www])).unwrap();
    assert_eq!((changes[0].added, changes[0].rules), (6, Some(true)));

    for to in virtuals(PORT) {
        let all = spread(&network, to, 30);
        assert_eq!(
            tally(&all),
            [("s0", 10), ("s1", 10), ("s2", 10)].into(),
            "{to}"
        );
        let udp = from_client(&network, move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let ask_new = |_| ask(&UdpSocket::bind(any).unwrap(), to).unwrap_or_default();
            (0..9).map(ask_new).collect::<Vec<String>>()
        });
        assert_eq!(
            tally(&udp),
            [("s0", 3), ("s1", 3), ("s2", 3)].into(),
            "{to}"
        );
    }

    // Established connections, one to each server and family.
    let mut held = from_client(&network, || {
        let all = virtuals(PORT).into_iter().flat_map(|to| [to; 3]);
        all.map(|to| open(to).unwrap()).collect::<Vec<_>>()
    });
    set_state(&mut www, 1, ServerState::Down);
    let changes = filter.apply(&rules(&[&www])).unwrap();
    assert_eq!(changes[0].deleted, 2);
    let before = servers[1]
        .connections
        .load(std::sync::atomic::Ordering::SeqCst);
    for to in virtuals(PORT) {
        let all = spread(&network, to, 20);
        assert_eq!(tally(&all), [("s0", 10), ("s2", 10)].into(), "{to}");
    }
    let after = servers[1]
        .connections
        .load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(before, after, "a server that is down got a connection");
    for (stream, name) in &mut held {
        assert!(alive(stream), "connection to {name} was disturbed");
    }

    // It returns.
    set_state(&mut www, 1, ServerState::Up);
    assert_eq!(filter.apply(&rules(&[&www])).unwrap()[0].added, 2);
    for to in virtuals(PORT) {
        assert_eq!(tally(&spread(&network, to, 30)).get("s1"), Some(&10));
    }
    let statistics = filter.statistics().unwrap();
    let hosts: u64 = statistics[0].hosts.iter().map(|(_, n)| n).sum();
    assert_eq!(statistics[0].sessions, hosts);
    assert_eq!(hosts, 2 * (30 + 9 + 3 + 20 + 30));
    filter.purge().unwrap();
}

#[test]
fn no_host_left_refuses_and_a_disabled_redirect_too() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 1), ["s0"]);
    }
    for state in [ServerState::Down, ServerState::Drain] {
        set_state(&mut www, 0, state);
        filter.apply(&rules(&[&www])).unwrap();
        for to in virtuals(PORT) {
            let answer = spread(&network, to, 1);
            assert!(answer[0].contains("refused"), "{answer:?}");
        }
    }
    set_state(&mut www, 0, ServerState::Up);
    www.active = false;
    let changes = filter.apply(&rules(&[&www])).unwrap();
    assert_eq!(changes[0].rules, Some(false));
    for to in virtuals(PORT) {
        assert!(spread(&network, to, 1)[0].contains("refused"));
    }
    www.active = true;
    assert_eq!(filter.apply(&rules(&[&www])).unwrap()[0].rules, Some(true));
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 1), ["s0"]);
    }
    filter.purge().unwrap();
}

#[test]
fn backup_table_takes_over() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 3);
    for server in &mut www.servers {
        if server.id.0 % 100 == 3 {
            server.table = TableId(2);
        }
    }
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(
            tally(&spread(&network, to, 10)),
            [("s0", 5), ("s1", 5)].into()
        );
    }
    www.table = TableId(2);
    let changes = filter.apply(&rules(&[&www])).unwrap();
    assert_eq!((changes[0].added, changes[0].deleted), (2, 4));
    for to in virtuals(PORT) {
        assert_eq!(tally(&spread(&network, to, 10)), [("s2", 10)].into());
    }
    filter.purge().unwrap();
}

#[test]
fn a_killed_process_is_succeeded_without_a_lost_connection() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 3);
    let mut other = service("other", 0);
    other.listeners = vec![listener("192.0.2.1", 6, PORT)];
    filter.apply(&rules(&[&other, &www])).unwrap();
    let mut held = from_client(&network, || {
        let all = virtuals(PORT).into_iter().flat_map(|to| [to; 3]);
        all.map(|to| open(to).unwrap()).collect::<Vec<_>>()
    });
    // As after SIGKILL: the socket closes, nothing is cleaned up.
    drop(filter);
    for to in virtuals(PORT) {
        assert_eq!(tally(&spread(&network, to, 30)).len(), 3, "{to}");
    }
    let mut filter = successor();
    set_state(&mut www, 0, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(
            tally(&spread(&network, to, 20)),
            [("s1", 10), ("s2", 10)].into()
        );
    }
    for (stream, name) in &mut held {
        assert!(alive(stream), "connection to {name} was disturbed");
    }
    // Numbers are the old ones, counters went on.
    let listing = network.balancer.listing("inet", "relayd");
    assert!(listing.contains("0x00002000 comment \"www\""), "{listing}");
    let statistics = filter.statistics().unwrap();
    assert_eq!(statistics[0].sessions, 6 + 60 + 40);
    let hosts: u64 = statistics[0].hosts.iter().map(|(_, n)| n).sum();
    assert_eq!(hosts, 6 + 60 + 40);
    filter.purge().unwrap();
}

#[test]
fn the_preview_is_what_the_kernel_holds_and_can_be_loaded() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let mut filter = backend(&network);
    let mut www = service("www", 3);
    www.sticky = true;
    www.masquerade = true;
    www.servers[0].weight = 2;
    www.listeners[0].interface = Some("e0".to_owned());
    www.listeners[1].log = true;
    let mut hash = service("by source", 3);
    hash.mode = Mode::SourceHash;
    hash.listeners = vec![listener("192.0.2.7", 6, 443)];
    hash.servers[0].max_connections = Some(5);
    let mut range = service("range", 3);
    range.mode = Mode::Random;
    range.listeners = vec![listener("fdaa::7", 17, 1000)];
    range.listeners[0].port_end = 5000;
    range.keep_port = true;
    let desired = rules(&[&www, &hash, &range]);
    filter.apply(&desired).unwrap();
    let preview = backends::preview(backends::Kind::Nftables, "relayd", &desired);
    assert_eq!(preview, filter.preview(&desired));
    let listing = network.balancer.listing("inet", "relayd");
    assert_same(&preview, &listing);
    // Somebody else's nft(8) reads it.
    let path = std::env::temp_dir().join(format!("relayd-preview-{}", std::process::id()));
    std::fs::write(&path, &preview).unwrap();
    network
        .client
        .output("nft", &["-f", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_same(&preview, &network.client.listing("inet", "relayd"));
    filter.purge().unwrap();
}

#[test]
fn changes_one_by_one_come_to_the_same_as_everything_at_once() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut services: Vec<Service> = ["www", "dns", "ftp"].map(|name| service(name, 3)).into();
    for (n, service) in (1..).zip(&mut services) {
        service.id = RedirectId(n);
        for listener in &mut service.listeners {
            (listener.port, listener.port_end) = (PORT + n as u16, PORT + n as u16);
        }
    }
    let mut desired: Ruleset = services.into_iter().collect();
    // Nothing was applied yet.
    let all = desired.services.clone();
    filter.change(&desired, &all).unwrap();
    for (n, host, state) in [
        (1, 0, ServerState::Down),
        (1, 1, ServerState::Drain),
        (2, 2, ServerState::Down),
        (1, 0, ServerState::Up),
        // Which changes nothing.
        (0, 0, ServerState::Up),
    ] {
        set_state(Arc::make_mut(&mut desired.services[n]), host, state);
        let changed = [Arc::clone(&desired.services[n])];
        let changes = filter.change(&desired, &changed).unwrap();
        let names: Vec<&str> = changes.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            &[desired.services[n].name.as_str()][..usize::from(n > 0)]
        );
        let listing = network.balancer.listing("inet", "relayd");
        assert_same(&filter.preview(&desired), &listing);
        assert!(filter.apply(&desired).unwrap().is_empty());
    }
    // A service that was not there.
    let mut more = service("more", 3);
    more.id = RedirectId(4);
    desired.services.push(Arc::new(more));
    let changed = [Arc::clone(&desired.services[3])];
    assert_eq!(filter.change(&desired, &changed).unwrap()[0].added, 6);
    let listing = network.balancer.listing("inet", "relayd");
    assert_same(&filter.preview(&desired), &listing);
    let [to, _] = virtuals(PORT + 2);
    let names = spread(&network, to, 10);
    assert!(names.iter().all(|name| name != "s1"), "{names:?}");
    filter.purge().unwrap();
    servers.into_iter().for_each(Server::stop);
}

#[test]
fn another_owner_is_one_clear_error() {
    if !network::possible() {
        return;
    }
    let network = Network::new(0);
    let _first = backend(&network);
    let mut second = Nftables::open("relayd").unwrap();
    assert_eq!(
        second.adopt().unwrap_err().to_string(),
        "nftables table relayd belongs to another running relayd; stop it or choose another table name"
    );
    let mut third = Nftables::open("relayd2").unwrap();
    third.adopt().unwrap();
}

#[test]
fn release_keeps_connections_and_purge_ends_with_nothing() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let www = service("www", 2);
    filter.apply(&rules(&[&www])).unwrap();
    let mut held = from_client(&network, || virtuals(PORT).map(|to| open(to).unwrap()));
    filter.release().unwrap();
    drop(filter);
    for to in virtuals(PORT) {
        assert!(spread(&network, to, 1)[0].contains("refused"));
    }
    for (stream, name) in &mut held {
        assert!(alive(stream), "connection to {name} was disturbed");
    }
    let mut filter = successor();
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(
            tally(&spread(&network, to, 4)),
            [("s0", 2), ("s1", 2)].into()
        );
    }
    filter.purge().unwrap();
    let ruleset = network.balancer.output("nft", &["list", "ruleset"]);
    assert_eq!(ruleset, "");
}

/// Connects and closes without end, both families in turn; answers how often, and the failures.
fn load(
    network: &Network,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
) -> thread::JoinHandle<(usize, Vec<String>)> {
    network.client.run(move || {
        let mut count = 0;
        let mut failures = Vec::new();
        while !stop.load(std::sync::atomic::Ordering::SeqCst) {
            for to in virtuals(PORT) {
                count += 1;
                if let Err(error) = open(to) {
                    failures.push(format!("{to}: {error}"));
                }
            }
        }
        (count, failures)
    })
}

#[test]
fn kills_and_flushes_under_load_lose_nothing() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 3);
    filter.apply(&rules(&[&www])).unwrap();
    let mut held = from_client(&network, || {
        let all = virtuals(PORT).into_iter().flat_map(|to| [to; 3]);
        all.map(|to| open(to).unwrap()).collect::<Vec<_>>()
    });
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let loads: Vec<_> = (0..2).map(|_| load(&network, stop.clone())).collect();
    for round in 0..20 {
        drop(filter);
        filter = successor();
        // Each successor knows something else: a host went or came.
        let state = [ServerState::Down, ServerState::Up][round % 2];
        set_state(&mut www, 0, state);
        filter.apply(&rules(&[&www])).unwrap();
        if round % 2 == 0 {
            network.balancer.output("nft", &["flush", "ruleset"]);
        }
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for load in loads {
        let (count, failures) = load.join().unwrap();
        println!("{count} connections, {} failed", failures.len());
        assert!(count > 100, "{count}");
        assert!(failures.is_empty(), "{failures:?}");
    }
    for (stream, name) in &mut held {
        assert!(alive(stream), "connection to {name} was disturbed");
    }
    filter.purge().unwrap();
}

#[test]
fn trouble_of_the_system_is_named_with_its_cure() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    network.balancer.enter();
    let mut www = service("www", 1);
    let warnings = |www: &Service| surroundings(Kind::Nftables, "relayd", &rules(&[www])).unwrap();
    assert_eq!(warnings(&www), [""; 0]);
    network.balancer.sysctl("net/ipv4/ip_forward", "0");
    www.listeners[0].interface = Some("nowhere0".to_owned());
    www.servers[1].address = "198.51.100.1".parse::<std::net::IpAddr>().unwrap().into();
    assert_eq!(
        warnings(&www),
        [
            "redirect www: IPv4 packets are not forwarded to its hosts; sysctl -w net.ipv4.ip_forward=1",
            "redirect www: there is no route to host 198.51.100.1; ip route add 198.51.100.1 via GATEWAY",
            "redirect www: there is no interface nowhere0 to listen on; make the interface, or correct its name in relayd.conf",
        ]
    );
    let relay = Relayed {
        name: "proxy".to_owned(),
        listen: "0.0.0.0:80".parse().unwrap(),
        interface: Some("nowhere0".to_owned()),
        datagrams: false,
        transparent: false,
        divert: true,
    };
    let desired = Ruleset {
        relays: vec![relay],
        ..Ruleset::default()
    };
    assert_eq!(
        surroundings(Kind::Nftables, "relayd", &desired).unwrap(),
        [
            "relay proxy: there is no interface nowhere0 to listen on; make the interface, or correct its name in relayd.conf"
        ]
    );
}

#[test]
fn without_the_right_it_says_so_and_userland_is_chosen() {
    if !network::possible() {
        return;
    }
    // A thread without capabilities stands for a process without them.
    let lines = thread::spawn(|| {
        let mut state = capctl::CapState::get_current().unwrap();
        state.effective.clear();
        state.set_current().unwrap();
        let choice = backends::choose();
        let error = Nftables::open("relayd").map(|_| ()).unwrap_err();
        (
            choice.kind,
            choice.why_not.unwrap().to_string(),
            error.to_string(),
        )
    })
    .join()
    .unwrap();
    let line = "packet filter nftables: this process may not use nftables (no CAP_NET_ADMIN); start relayd as root or with CAP_NET_ADMIN, or use the packet filter userland";
    assert_eq!(
        lines,
        (backends::Kind::Userland, line.to_owned(), line.to_owned())
    );
}
