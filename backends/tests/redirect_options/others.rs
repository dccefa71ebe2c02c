//! Beside other people's rules, and what is refused.

use super::hold;
use super::network::services::{
    PORT, backend, rules, service, set_state, spread, start_servers, virtuals,
};
use super::network::{self, Network, alive, tally};
use backends::filter::{PacketFilter, ServerState};
use backends::nftables::kernel::Nftables;

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
    for command in [
        vec!["flush", "chain", "inet", "relayd", "r_www"],
        vec!["flush", "map", "inet", "relayd", "live4"],
        vec!["flush", "ruleset"],
    ] {
        // The kernel tells of it, and nobody need wait for the next tick.
        let watch = socket2::Socket::from(filter.watch().unwrap());
        let mut told = || {
            let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
            watch.recv_with_flags(&mut [], flags).is_ok()
        };
        assert!(!told(), "{command:?}");
        network.balancer.output("nft", &command);
        network::until("the kernel tells", &mut told);
        let line = "nftables table relayd was changed by somebody else and is restored";
        assert_eq!(
            filter.restore().unwrap().as_deref(),
            Some(line),
            "{command:?}"
        );
        assert_eq!(filter.tick().unwrap(), [""; 0], "{command:?}");
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
