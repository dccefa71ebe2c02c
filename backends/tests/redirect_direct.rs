//! Direct Server Return with real connections: router, balancer, servers with the address on their loopback, client.
#![cfg(all(target_os = "linux", feature = "nftables"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use backends::filter::{PacketFilter, ServerState, Service};
use backends::nftables::kernel::Nftables;
use conf::model::{Forward, HostId, Mode};
use network::services::{PORT, rules, service, set_state, successor, virtuals};
use network::{Direct, Namespace, Server, alive, ask, bytes, names, open, tally};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};

fn direct(hosts: usize) -> Service {
    let mut www = service("www", hosts);
    www.forward = Forward::Route {
        interface: "e1".to_owned(),
    };
    for server in &mut www.servers {
        server.port = PORT;
    }
    www.port = PORT;
    www
}

fn start(network: &Direct) -> Vec<Server> {
    let all = network.servers.iter().enumerate();
    all.map(|(n, ns)| Server::start(ns, PORT, &format!("s{n}")))
        .collect()
}

fn backend(network: &Direct) -> Nftables {
    network.balancer.enter();
    let mut filter = Nftables::open("relayd").unwrap();
    filter.adopt().unwrap();
    filter
}

fn within<T: Send + 'static>(
    namespace: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    namespace.run(work).join().unwrap()
}

fn spread(network: &Direct, to: SocketAddr, count: usize) -> Vec<String> {
    within(&network.client, move || names(to, count))
}

#[test]
fn both_families_and_protocols_reach_their_hosts_unchanged() {
    if !network::possible() {
        return;
    }
    let network = Direct::new(2);
    let servers = start(&network);
    let mut filter = backend(&network);
    let mut www = direct(2);
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(
            tally(&spread(&network, to, 10)),
            [("s0", 5), ("s1", 5)].into(),
            "{to}"
        );
        let answers = within(&network.client, move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let ask_new = |_| {
                let socket = UdpSocket::bind(any).unwrap();
                // A flow keeps its host.
                let first = ask(&socket, to).unwrap_or_default();
                assert_eq!(ask(&socket, to).unwrap_or_default(), first);
                first
            };
            (0..8).map(ask_new).collect::<Vec<String>>()
        });
        // A port that a closed TCP flow had a moment ago belongs to that flow's host still.
        let tally = tally(&answers);
        assert!(
            tally.values().all(|n| *n >= 3) && tally.len() == 2,
            "{to}: {tally:?}"
        );
    }
    let statistics = filter.statistics().unwrap();
    let hosts: u64 = statistics[0].hosts.iter().map(|(_, n)| n).sum();
    assert_eq!(statistics[0].sessions, hosts);
    assert!((34..=36).contains(&hosts), "{hosts}");

    // Drained: old flows go on, new ones go elsewhere. Down: nothing any more.
    let mut held = within(&network.client, || {
        let all = virtuals(PORT).into_iter().flat_map(|to| [to; 2]);
        all.map(|to| open(to).unwrap()).collect::<Vec<_>>()
    });
    set_state(&mut www, 0, ServerState::Drain);
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 3), ["s1"; 3]);
    }
    assert!(held.iter_mut().all(|(stream, _)| alive(stream)));
    // The process is killed and succeeded: the flows are the kernel's.
    drop(filter);
    let mut filter = successor();
    set_state(&mut www, 0, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    let before = servers[0]
        .connections
        .load(std::sync::atomic::Ordering::SeqCst);
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 3), ["s1"; 3]);
    }
    for (stream, name) in &mut held {
        assert_eq!(alive(stream), name == "s1", "{name}");
    }
    assert_eq!(
        servers[0]
            .connections
            .load(std::sync::atomic::Ordering::SeqCst),
        before
    );

    set_state(&mut www, 0, ServerState::Up);
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(
            tally(&spread(&network, to, 4)),
            [("s0", 2), ("s1", 2)].into()
        );
    }
    filter.purge().unwrap();
    assert_eq!(network.balancer.output("nft", &["list", "ruleset"]), "");
}

#[test]
fn killing_a_host_ends_its_flows_and_no_others() {
    if !network::possible() {
        return;
    }
    let network = Direct::new(2);
    let _servers = start(&network);
    let mut filter = backend(&network);
    let www = direct(2);
    filter.apply(&rules(&[&www])).unwrap();
    let mut held = within(&network.client, || {
        let all = virtuals(PORT).into_iter().flat_map(|to| [to; 2]);
        all.map(|to| open(to).unwrap()).collect::<Vec<_>>()
    });
    for host in [1, 101].map(HostId) {
        assert_eq!(filter.kill(www.id, Some(host)).unwrap(), 1);
        assert_eq!(filter.kill(www.id, Some(host)).unwrap(), 0);
    }
    for (stream, name) in &mut held {
        assert_eq!(alive(stream), name == "s1", "{name}");
    }
    assert_eq!(filter.kill(www.id, None).unwrap(), 2);
    filter.purge().unwrap();
}

#[test]
fn a_downloads_return_traffic_bypasses_the_balancer() {
    if !network::possible() {
        return;
    }
    const SIZE: usize = 20_000_000;
    let network = Direct::new(2);
    let mut senders = Vec::new();
    for server in &network.servers {
        let listener = within(server, || TcpListener::bind(("::", PORT)).unwrap());
        senders.push(std::thread::spawn(move || {
            // One download of each family.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(&vec![b'x'; SIZE]).unwrap();
            }
        }));
    }
    let mut filter = backend(&network);
    let mut www = direct(2);
    www.count_traffic = true;
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        let (balancer, router) = (bytes(&network.balancer, "e1"), bytes(&network.router, "e0"));
        let read = within(&network.client, move || {
            let download = |_| {
                let mut data = Vec::new();
                let mut stream = std::net::TcpStream::connect(to).unwrap();
                stream.read_to_end(&mut data).unwrap()
            };
            (0..2).map(download).sum::<usize>()
        });
        assert_eq!(read, 2 * SIZE);
        let (after, through) = (bytes(&network.balancer, "e1"), bytes(&network.router, "e0"));
        let balanced = (after.0 - balancer.0) + (after.1 - balancer.1);
        let routed = through.1 - router.1;
        println!("{to}: balancer saw {balanced} bytes, router sent {routed}");
        assert!(routed > 2 * SIZE as u64);
        assert!(balanced < 2_000_000, "{balanced}");
    }
    senders.into_iter().for_each(|s| s.join().unwrap());
    // What passes is counted: requests and acknowledgements of four connections, by host and family.
    let traffic = filter.statistics().unwrap().remove(0).traffic;
    assert_eq!(traffic.len(), 4, "{traffic:?}");
    for (host, counted) in traffic {
        assert!(counted.packets_in > 5, "{host:?}: {counted:?}");
        assert!(
            (200..1_000_000).contains(&counted.bytes_in),
            "{host:?}: {counted:?}"
        );
        assert_eq!((counted.packets_out, counted.bytes_out), (0, 0));
    }
    filter.purge().unwrap();
}

/// Packets counted for one host of the first service.
fn incoming(filter: &mut Nftables, host: HostId) -> u64 {
    let traffic = filter.statistics().unwrap().remove(0).traffic;
    let of_host = traffic.iter().filter(|(id, _)| *id == host);
    of_host.map(|(_, counted)| counted.packets_in).sum()
}

#[test]
fn packets_that_are_not_sent_on_are_not_counted() {
    if !network::possible() {
        return;
    }
    let network = Direct::new(2);
    let _servers = start(&network);
    let mut filter = backend(&network);
    let mut www = direct(2);
    www.sticky = true;
    www.count_traffic = true;
    filter.apply(&rules(&[&www])).unwrap();
    for (to, first) in virtuals(PORT).into_iter().zip([1, 101]) {
        let (mut stream, name) = within(&network.client, move || open(to).unwrap());
        assert!(alive(&mut stream));
        let down = usize::from(name == "s1");
        let host = |n: usize| HostId(first + u32::try_from(n).unwrap());
        assert!(incoming(&mut filter, host(down)) > 3, "{to}");
        set_state(&mut www, down, ServerState::Down);
        filter.apply(&rules(&[&www])).unwrap();
        let before = [down, 1 - down].map(|n| incoming(&mut filter, host(n)));
        // Its flow and its client are remembered still.
        assert!(!alive(&mut stream));
        let other = format!("s{}", 1 - down);
        assert_eq!(spread(&network, to, 1), [other]);
        assert_eq!(incoming(&mut filter, host(down)), before[0], "{to}");
        assert!(incoming(&mut filter, host(1 - down)) > before[1], "{to}");
        set_state(&mut www, down, ServerState::Up);
        filter.apply(&rules(&[&www])).unwrap();
    }
    filter.purge().unwrap();
}

#[test]
fn maps_of_an_earlier_build_are_removed() {
    if !network::possible() {
        return;
    }
    let network = Direct::new(1);
    let _servers = start(&network);
    // Another order of the key, and a rule that looks there.
    let text = "table inet relayd { }
table netdev relayd {
	comment \"managed by relayd; do not edit\"
	map flow4 {
		type mark . ipv4_addr . inet_service . inet_service : mark
		size 262144
		flags dynamic,timeout
		timeout 10m
	}
	chain old {
		meta mark set meta mark . ip saddr . th sport . th dport map @flow4
	}
}
";
    network.balancer.output("nft", &[text]);
    let mut filter = backend(&network);
    filter.apply(&rules(&[&direct(1)])).unwrap();
    let listing = network.balancer.listing("netdev", "relayd");
    assert!(listing.contains("map flows4 {"), "{listing}");
    assert!(!listing.contains("map flow4 {"), "{listing}");
    assert!(!listing.contains("chain old"), "{listing}");
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 2), ["s0"; 2], "{to}");
    }
    filter.purge().unwrap();
}

#[test]
fn source_hash_and_sticky_clients() {
    if !network::possible() {
        return;
    }
    let network = Direct::new(2);
    let _servers = start(&network);
    let mut filter = backend(&network);
    let mut www = direct(2);
    www.mode = Mode::SourceHash;
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(tally(&spread(&network, to, 6)).len(), 1, "{to}");
    }
    www.mode = Mode::RoundRobin;
    www.sticky = true;
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        let first = spread(&network, to, 1);
        assert_eq!(
            tally(&spread(&network, to, 6)),
            [(first[0].as_str(), 6)].into(),
            "{to}"
        );
        let host = usize::from(first[0] == "s1");
        set_state(&mut www, host, ServerState::Down);
        filter.apply(&rules(&[&www])).unwrap();
        let second = spread(&network, to, 3);
        assert_eq!(tally(&second).len(), 1);
        assert_ne!(second[0], first[0]);
        set_state(&mut www, host, ServerState::Up);
        filter.apply(&rules(&[&www])).unwrap();
        assert_eq!(
            spread(&network, to, 3),
            second,
            "a client stays where it went"
        );
    }
    filter.purge().unwrap();
}

#[test]
fn the_preview_is_what_the_kernel_holds_and_can_be_loaded() {
    if !network::possible() {
        return;
    }
    let network = Direct::new(2);
    let mut filter = backend(&network);
    let mut www = direct(2);
    www.sticky = true;
    www.count_traffic = true;
    let mut dns = direct(1);
    dns.name = "dns".to_owned();
    dns.mode = Mode::SourceHash;
    for listener in &mut dns.listeners {
        (listener.port, listener.port_end) = (53, 53);
    }
    for server in &mut dns.servers {
        server.port = 53;
    }
    let desired = rules(&[&www, &dns]);
    filter.apply(&desired).unwrap();
    let preview = filter.preview(&desired);
    let held = format!(
        "{}{}",
        network.balancer.listing("inet", "relayd"),
        network.balancer.listing("netdev", "relayd")
    );
    network::services::assert_same(&preview, &held);
    let path = std::env::temp_dir().join(format!("relayd-direct-{}", std::process::id()));
    std::fs::write(&path, &preview).unwrap();
    let other = &network.servers[0];
    other.output("nft", &["-f", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    let loaded = other.output("nft", &["list", "ruleset"]);
    network::services::assert_same(&preview, &loaded);
    filter.purge().unwrap();
}

#[test]
fn what_is_not_possible_is_refused_by_name() {
    if !network::possible() {
        return;
    }
    let network = Direct::new(0);
    let mut filter = backend(&network);
    let mut www = direct(1);
    www.servers[0].port = 8080;
    assert_eq!(
        filter.apply(&rules(&[&www])).unwrap_err().to_string(),
        "redirect www: another port at the hosts together with `route to` is not possible with the nftables packet filter"
    );
    let mut www = direct(1);
    www.forward = Forward::Route {
        interface: "nowhere0".to_owned(),
    };
    assert_eq!(
        filter.apply(&rules(&[&www])).unwrap_err().to_string(),
        "redirect www: there is no interface nowhere0; make the interface, or correct its name in relayd.conf"
    );
    assert!(
        !network
            .balancer
            .output("nft", &["list", "ruleset"])
            .contains("netdev")
    );
}
