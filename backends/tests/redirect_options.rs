//! Every option of a redirect with real connections through nftables, both address families.
#![cfg(all(target_os = "linux", feature = "nftables"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod network;

use backends::filter::{PacketFilter, ServerState, Settings};
use backends::nftables::kernel::Nftables;
use conf::model::{Mode, PfTag};
use network::services::{
    PORT, SERVER_PORT, backend, from_client, listener, rules, service, set_state, spread,
    start_servers, successor, virtuals,
};
use network::{Network, Server, VIRTUAL, alive, ask, open, open_from, tally, until};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Gives the client more addresses of both families and answers them.
fn many_clients(network: &Network, count: usize) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for n in 0..count {
        for (address, prefix) in [
            (format!("10.1.0.{}", 50 + n), 24),
            (format!("fd01::1:{n}"), 64),
        ] {
            let nodad = if prefix == 64 { "nodad" } else { "" };
            network
                .client
                .ip(&format!("addr add {address}/{prefix} dev e0 {nodad}"));
            all.push(address.parse().unwrap());
        }
    }
    all
}

fn to_for(from: IpAddr) -> SocketAddr {
    virtuals(PORT)[usize::from(from.is_ipv6())]
}

/// The server each client gets.
fn assignment(network: &Network, clients: &[IpAddr]) -> BTreeMap<IpAddr, String> {
    let clients = clients.to_vec();
    from_client(network, move || {
        let one = |from: IpAddr| {
            let name =
                open_from(from, to_for(from)).map_or_else(|e| format!("error: {e}"), |(_, n)| n);
            (from, name)
        };
        clients.into_iter().map(one).collect()
    })
}

#[test]
fn random_uses_all_and_weights_are_obeyed() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 3);
    www.mode = Mode::Random;
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        let all = spread(&network, to, 90);
        let tally = tally(&all);
        assert!(tally.values().all(|n| *n >= 10), "{to}: {tally:?}");
        assert_eq!(tally.len(), 3, "{tally:?}");
    }
    www.mode = Mode::RoundRobin;
    for server in &mut www.servers {
        server.weight = [1, 3, 2][(server.id.0 as usize % 100) - 1];
    }
    assert_eq!(filter.apply(&rules(&[&www])).unwrap()[0].changed, 4);
    for to in virtuals(PORT) {
        let all = spread(&network, to, 60);
        assert_eq!(tally(&all), [("s0", 10), ("s1", 30), ("s2", 20)].into());
    }
    filter.purge().unwrap();
}

#[test]
fn source_hash_moves_only_clients_of_a_failed_server() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let _servers = start_servers(&network);
    let clients = many_clients(&network, 40);
    let mut filter = backend(&network);
    let mut www = service("www", 3);
    www.mode = Mode::SourceHash;
    filter.apply(&rules(&[&www])).unwrap();
    let before = assignment(&network, &clients);
    assert_eq!(before, assignment(&network, &clients), "a client moved");
    let names: Vec<String> = before.values().cloned().collect();
    assert_eq!(tally(&names).len(), 3, "{before:?}");

    set_state(&mut www, 1, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    for (client, name) in assignment(&network, &clients) {
        match before[&client].as_str() {
            "s1" => assert!(name == "s0" || name == "s2", "{client}: {name}"),
            old => assert_eq!(name, old, "{client}"),
        }
    }
    set_state(&mut www, 1, ServerState::Up);
    filter.apply(&rules(&[&www])).unwrap();
    assert_eq!(assignment(&network, &clients), before);
    filter.purge().unwrap();
}

#[test]
fn sticky_clients_keep_their_server_over_change_and_restart() {
    if !network::possible() {
        return;
    }
    let network = Network::new(3);
    let _servers = start_servers(&network);
    let clients = many_clients(&network, 12);
    let mut filter = backend(&network);
    let mut www = service("www", 3);
    www.sticky = true;
    filter.apply(&rules(&[&www])).unwrap();
    let first = assignment(&network, &clients);
    let names: Vec<String> = first.values().cloned().collect();
    assert_eq!(tally(&names), [("s0", 8), ("s1", 8), ("s2", 8)].into());
    for _ in 0..2 {
        assert_eq!(assignment(&network, &clients), first);
    }
    // A reload that changes the redirect and a restart of the process change nothing for them.
    www.masquerade = true;
    filter.apply(&rules(&[&www])).unwrap();
    drop(filter);
    let mut filter = successor();
    filter.apply(&rules(&[&www])).unwrap();
    assert_eq!(assignment(&network, &clients), first);

    set_state(&mut www, 0, ServerState::Drain);
    filter.apply(&rules(&[&www])).unwrap();
    assert_eq!(
        assignment(&network, &clients),
        first,
        "a draining server keeps its clients"
    );
    set_state(&mut www, 0, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    let second = assignment(&network, &clients);
    for (client, name) in &second {
        match first[client].as_str() {
            "s0" => assert!(name == "s1" || name == "s2", "{client}: {name}"),
            old => assert_eq!(name, old, "{client}"),
        }
    }
    // As with pf, a client stays where it went.
    set_state(&mut www, 0, ServerState::Up);
    filter.apply(&rules(&[&www])).unwrap();
    assert_eq!(assignment(&network, &clients), second);
    filter.purge().unwrap();
}

fn hold(network: &Network, to: SocketAddr, count: usize) -> Vec<(TcpStream, String)> {
    from_client(network, move || {
        (0..count).filter_map(|_| open(to).ok()).collect()
    })
}

fn held(connections: &[(TcpStream, String)]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for (_, name) in connections {
        *tally.entry(name.clone()).or_default() += 1;
    }
    tally
}

#[test]
fn least_states_prefers_the_idle_server() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 2);
    www.mode = Mode::LeastStates;
    for to in virtuals(PORT) {
        set_state(&mut www, 1, ServerState::Down);
        filter.apply(&rules(&[&www])).unwrap();
        let old = hold(&network, to, 20);
        assert_eq!(held(&old), [("s0".to_owned(), 20)].into(), "{to}");
        set_state(&mut www, 1, ServerState::Up);
        filter.apply(&rules(&[&www])).unwrap();
        filter.tick().unwrap();
        let new = hold(&network, to, 20);
        assert_eq!(held(&new), [("s1".to_owned(), 20)].into(), "{to}");
        filter.tick().unwrap();
        let both = hold(&network, to, 10);
        assert_eq!(both.len(), 10);
        assert!(held(&both).len() == 2, "{:?}", held(&both));
        // A server that goes down while a pick list is in force gets nothing.
        set_state(&mut www, 1, ServerState::Down);
        filter.apply(&rules(&[&www])).unwrap();
        assert_eq!(held(&hold(&network, to, 4)), [("s0".to_owned(), 4)].into());
        filter.kill(www.id, None).unwrap();
    }
    filter.purge().unwrap();
}

#[test]
fn a_full_server_passes_connections_on_and_recovers() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 2);
    for server in &mut www.servers {
        if server.id.0 % 100 == 1 {
            server.max_connections = Some(3);
        }
    }
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        let first = hold(&network, to, 12);
        let expected = [("s0".to_owned(), 3), ("s1".to_owned(), 9)];
        assert_eq!(held(&first), expected.clone().into(), "{to}");
        filter.tick().unwrap();
        let more = hold(&network, to, 4);
        assert_eq!(held(&more), [("s1".to_owned(), 4)].into(), "{to}");
        // The limited server's connections end, those it passed on live: it must get new ones.
        let (ended, kept): (Vec<_>, Vec<_>) = first.into_iter().partition(|(_, n)| n == "s0");
        drop(ended);
        until("three new connections at the limited server", || {
            // TIME_WAIT counts as with pf; end it here.
            for host in [1, 101].map(conf::model::HostId) {
                filter.kill(www.id, Some(host)).unwrap();
            }
            filter.tick().unwrap();
            let again = hold(&network, to, 6);
            held(&again).get("s0") == Some(&3)
        });
        drop((kept, more));
        filter.kill(www.id, None).unwrap();
    }
    // All full: nobody gets more.
    for server in &mut www.servers {
        server.max_connections = Some(1);
    }
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        let some = hold(&network, to, 3);
        assert_eq!(some.len(), 2, "{to}: {:?}", held(&some));
    }
    filter.purge().unwrap();
}

#[test]
fn only_the_named_interface_is_served() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    for (interface, served) in [("e0", true), ("br0", false)] {
        for listener in &mut www.listeners {
            listener.interface = Some(interface.to_owned());
        }
        filter.apply(&rules(&[&www])).unwrap();
        for to in virtuals(PORT) {
            let answer = &spread(&network, to, 1)[0];
            match served {
                true => assert_eq!(answer, "s0"),
                false => assert!(answer.contains("refused"), "{answer}"),
            }
        }
    }
    filter.purge().unwrap();
}

#[test]
fn port_ranges_with_and_without_translation() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let _other = Server::start(&network.servers[0], 3003, "kept");
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    // A short range becomes single elements, a long one an interval; both with and without an interface.
    for end in [3010, 9000] {
        for interface in [None, Some("e0".to_owned())] {
            for listener in &mut www.listeners {
                (listener.port, listener.port_end) = (3000, end);
                listener.interface = interface.clone();
            }
            for (keep, name) in [(false, "s0"), (true, "kept")] {
                www.keep_port = keep;
                filter.apply(&rules(&[&www])).unwrap();
                for to in virtuals(3003) {
                    let what = format!("{to} {end} {interface:?} {keep}");
                    assert_eq!(spread(&network, to, 1), [name], "{what}");
                    let udp = from_client(&network, move || {
                        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                        ask(&UdpSocket::bind(any).unwrap(), to)
                    });
                    assert_eq!(udp.as_deref(), Some(name), "{what}");
                }
                for to in virtuals(end + 1) {
                    assert!(spread(&network, to, 1)[0].contains("refused"));
                }
            }
        }
    }
    filter.purge().unwrap();
}

#[test]
fn an_administrators_drop_policy_lets_tagged_connections_pass() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    www.tag = Some(PfTag {
        name: "relayd-test-tag".to_owned(),
        match_only: false,
    });
    filter.apply(&rules(&[&www])).unwrap();
    let chain =
        "chain f { type filter hook forward priority 0; policy drop; ct state established accept";
    for (rule, passes) in [
        ("", false),
        ("; ct label 127 accept", true),
        ("; ct status dnat accept", true),
    ] {
        let text = format!(
            "table inet admin\ndelete table inet admin\ntable inet admin {{\n{chain}{rule}\n}}\n}}\n"
        );
        network.balancer.output("nft", &[&text]);
        for to in virtuals(PORT) {
            let answer = &spread(&network, to, 1)[0];
            assert_eq!(answer == "s0", passes, "{rule}: {answer}");
        }
    }
    filter.purge().unwrap();
}

#[test]
fn established_connections_get_the_session_timeout() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    www.session_timeout = Duration::from_secs(77);
    filter.apply(&rules(&[&www])).unwrap();
    let connections: Vec<_> = virtuals(PORT)
        .into_iter()
        .flat_map(|to| hold(&network, to, 1))
        .collect();
    assert_eq!(connections.len(), 2);
    for family in ["ipv4", "ipv6"] {
        let list = network.balancer.output(
            "conntrack",
            &["-L", "-f", family, "-p", "tcp", "--state", "ESTABLISHED"],
        );
        let seconds: u32 = list.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert!((60..=77).contains(&seconds), "{list}");
    }
    // Another timeout for new ones, while old ones use the old object.
    www.session_timeout = Duration::from_secs(55);
    filter.apply(&rules(&[&www])).unwrap();
    assert!(
        virtuals(PORT)
            .into_iter()
            .all(|to| !hold(&network, to, 1).is_empty())
    );
    filter.purge().unwrap();
}

#[test]
fn masquerade_serves_servers_without_a_route_back() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    network.servers[0].ip("route del default");
    network.servers[0].ip("-6 route del default");
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert!(spread(&network, to, 1)[0].starts_with("error"));
    }
    www.masquerade = true;
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 1), ["s0"]);
    }
    filter.purge().unwrap();
}

#[test]
fn states_of_a_lost_server_are_killed() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 2);
    set_state(&mut www, 1, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    // One client that keeps its UDP socket, and TCP connections, all to s0.
    let sockets: Vec<UdpSocket> = from_client(&network, || {
        let bind = |any| UdpSocket::bind(any).unwrap();
        let sockets = vec![bind("0.0.0.0:0"), bind("[::]:0")];
        for (socket, to) in sockets.iter().zip(virtuals(PORT)) {
            assert_eq!(ask(socket, to).as_deref(), Some("s0"));
        }
        sockets
    });
    let mut tcp: Vec<_> = virtuals(PORT)
        .into_iter()
        .flat_map(|to| hold(&network, to, 1))
        .collect();
    set_state(&mut www, 1, ServerState::Up);
    set_state(&mut www, 0, ServerState::Down);
    let changes = filter.apply(&rules(&[&www])).unwrap();

    assert_eq!(changes[0].killed, 2, "one UDP state in each family");
    for (socket, to) in sockets.iter().zip(virtuals(PORT)) {
        assert_eq!(ask(socket, to).as_deref(), Some("s1"), "{to}");
    }
    assert!(
        tcp.iter_mut().all(|(stream, _)| alive(stream)),
        "TCP was not asked for"
    );

    // The same with TCP.
    filter.configure(Settings {
        kill_tcp: true,
        ..Settings::default()
    });
    set_state(&mut www, 0, ServerState::Up);
    set_state(&mut www, 1, ServerState::Down);
    let mut on_s1 = tcp;
    filter.apply(&rules(&[&www])).unwrap();
    set_state(&mut www, 1, ServerState::Up);
    set_state(&mut www, 0, ServerState::Down);
    let changes = filter.apply(&rules(&[&www])).unwrap();
    assert!(changes[0].killed >= 2, "{changes:?}");
    assert!(
        on_s1.iter_mut().all(|(stream, _)| !alive(stream)),
        "killed connections live on"
    );
    filter.purge().unwrap();
}

#[test]
fn the_balancers_own_connections_are_redirected_too() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    filter.apply(&rules(&[&service("www", 2)])).unwrap();
    for to in virtuals(PORT) {
        let all = network::names(to, 10);
        assert_eq!(tally(&all), [("s0", 5), ("s1", 5)].into(), "{to}");
    }
    filter.purge().unwrap();
}

#[test]
fn a_client_is_asked_for_where_it_wanted_to_go() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    filter.apply(&rules(&[&service("www", 1)])).unwrap();
    for (v6, to) in virtuals(PORT).into_iter().enumerate() {
        let connections = hold(&network, to, 1);
        let client = connections[0].0.local_addr().unwrap();
        let server = SocketAddr::new(Network::address(0, v6 == 1), SERVER_PORT);
        assert_eq!(filter.nat_lookup(6, client, server).unwrap(), Some(to));
        let nobody = SocketAddr::new(client.ip(), 1);
        assert_eq!(filter.nat_lookup(6, nobody, server).unwrap(), None);
    }
    filter.purge().unwrap();
}

/// Reads the prefixes of packets logged to a group.
fn logged(group: u16, work: impl FnOnce()) -> Vec<String> {
    let socket = mnl::Socket::new(mnl::Bus::Netfilter).unwrap();
    // Header (subsystem 4, configuration), family, group, command "bind".
    let mut message = Vec::new();
    message.extend(28u32.to_ne_bytes());
    message.extend(((4u16 << 8) | 1).to_ne_bytes());
    message.extend(5u16.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0, 0]);
    message.extend(group.to_be_bytes());
    message.extend(5u16.to_ne_bytes());
    message.extend(1u16.to_ne_bytes());
    message.extend([1, 0, 0, 0]);
    let read = || {
        use nix::sys::socket::{MsgFlags, recv};
        use std::os::fd::AsRawFd;
        let mut buffer = vec![0u8; 65536];
        recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)
            .map(|n| buffer[..n].to_vec())
            .ok()
    };
    // The kernel gives up the group of a closed socket a moment later.
    until("the log group is ours", || {
        socket.send(&message).unwrap();
        read().is_some_and(|answer| answer[16..20] == [0; 4])
    });
    work();
    let mut found = Vec::new();
    until("a logged packet", || {
        while let Some(packet) = read() {
            let text = String::from_utf8_lossy(&packet).into_owned();
            if let Some(at) = text.find("relayd ") {
                found.push(text[at..].chars().take_while(|c| *c != '\0').collect());
            }
        }
        !found.is_empty()
    });
    found
}

#[test]
fn pflog_logs_the_first_packet_of_each_connection() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    www.listeners = VIRTUAL.map(|a| listener(a, 6, PORT)).into();
    for listener in &mut www.listeners {
        listener.log = true;
    }
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        // The kernel hands packets over in batches, after a second at the latest.
        let prefixes = logged(1, || assert_eq!(spread(&network, to, 1), ["s0"]));
        assert_eq!(prefixes, ["relayd www: "], "{to}");
    }
    filter.purge().unwrap();
}

#[test]
fn other_peoples_flush_does_not_reach_an_owned_table() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    filter.apply(&rules(&[&service("www", 2)])).unwrap();
    let mut connections = hold(&network, virtuals(PORT)[0], 2);
    for _ in 0..10 {
        network.balancer.output("nft", &["flush", "ruleset"]);
        for to in virtuals(PORT) {
            assert_eq!(
                tally(&spread(&network, to, 2)),
                [("s0", 1), ("s1", 1)].into()
            );
        }
    }
    assert!(connections.iter_mut().all(|(stream, _)| alive(stream)));
    filter.purge().unwrap();
}

#[test]
fn without_ownership_a_flushed_table_is_restored() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    // A table that exists without owner cannot be owned: what a kernel before 6.9 offers.
    network
        .balancer
        .output("nft", &["add", "table", "inet", "relayd"]);
    let mut filter = backend(&network);
    let mut www = service("www", 2);
    filter.apply(&rules(&[&www])).unwrap();
    set_state(&mut www, 0, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    assert_eq!(
        filter.tick().unwrap(),
        [""; 0],
        "own changes are not foreign ones"
    );
    assert!(filter.watch().is_some());
    for command in [
        vec!["flush", "chain", "inet", "relayd", "r_www"],
        vec!["flush", "map", "inet", "relayd", "live4"],
        vec!["flush", "ruleset"],
    ] {
        network.balancer.output("nft", &command);
        let notices = filter.tick().unwrap();
        assert_eq!(
            notices,
            ["nftables table relayd was changed by somebody else and is restored"],
            "{command:?}"
        );
        for to in virtuals(PORT) {
            assert_eq!(spread(&network, to, 2), ["s1", "s1"], "{command:?}");
        }
    }
    filter.purge().unwrap();
}

#[test]
fn an_administrators_own_redirect_comes_first() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 2);
    set_state(&mut www, 1, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    let text = "table ip admin { chain n { type nat hook prerouting priority -101; ip saddr 10.1.0.2 ip daddr 192.0.2.100 tcp dport 80 dnat to 10.2.0.12:8080\n}\n}\n";
    network.balancer.output("nft", &[text]);
    assert_eq!(spread(&network, virtuals(PORT)[0], 2), ["s1", "s1"]);
    assert_eq!(spread(&network, virtuals(PORT)[1], 2), ["s0", "s0"]);
    filter.purge().unwrap();
}

#[test]
fn errors_name_object_and_cure_and_leave_nothing_behind() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let mut filter = backend(&network);
    let www = service("www", 1);
    let mut twin = service("twin", 1);
    twin.id = conf::model::RedirectId(2);
    let error = filter.apply(&rules(&[&www, &twin])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "redirect twin: 192.0.2.100:80 already belongs to redirect www; give one of them another address, port, protocol or interface"
    );
    let listing = network.balancer.listing("inet", "relayd");
    assert!(!listing.contains("r_www"), "{listing}");
    // Another table of this name with other maps.
    network.balancer.output(
        "nft",
        &["table inet other { map live4 { type mark : ipv6_addr; }\n }"],
    );
    let mut other = Nftables::open("other").unwrap();
    let error = other.apply(&rules(&[&www])).unwrap_err().to_string();
    assert_eq!(
        error,
        "nftables table inet other: was not made by relayd; choose another name with the option table, or delete the table with `nft delete table`"
    );
    let listing = network.balancer.listing("inet", "other");
    assert!(!listing.contains("chain"), "{listing}");
    filter.purge().unwrap();
}
