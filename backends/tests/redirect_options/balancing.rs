//! How hosts are chosen: modes, weights, sticky clients, limits.

use super::network::services::{
    PORT, backend, from_client, rules, service, set_state, spread, start_servers, successor,
    virtuals,
};
use super::network::{self, Network, open_from, tally, until};
use super::{held, hold};
use backends::filter::{PacketFilter, ServerState};
use conf::model::Mode;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

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
