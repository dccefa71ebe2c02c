//! Redirects, in user space and in the kernel: TCP and UDP reach healthy hosts, backup tables serve, administration is
//! obeyed, established connections stay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use support::client::{Echo, datagram, who};
use support::network::Network;
use support::servers::Speech;
use support::{Daemon, Server, Settings, UdpServer, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn names(at: u16, times: usize) -> BTreeSet<String> {
    (0..times).filter_map(|_| who(local(at))).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn connections_follow_the_hosts_that_are_up() {
    let mut servers = Server::row(Speech::Http, &["one", "two", "three"]);
    let target = servers[0].port();
    let at = port();
    let daemon = Daemon::start(&format!(
        "interval 1
timeout 500
prefork 2
log state changes
table <web> {{ 127.0.0.1 127.0.0.2 127.0.0.3 }}
redirect shop {{
	listen on 127.0.0.1 port {at}
	forward to <web> port {target} check http \"/\" code 200
}}
"
    ));
    daemon.wait_status("table", &format!("web:{target}"), "active (3 hosts)");
    daemon.wait_status("redirect", "shop", "active");
    wait::until_true("all three serve", || {
        names(at, 12) == set(&["one", "two", "three"])
    });

    servers[1].stop();
    daemon.wait_status("host", "127.0.0.2", "down");
    // From one check on the dead server gets nothing, so no client meets an error.
    wait::until_true("two of them serve", || {
        names(at, 6) == set(&["one", "three"])
    });
    for _ in 0..30 {
        let name = who(local(at)).expect("an answer");
        assert_ne!(name, "two");
    }

    servers[1].start();
    wait::until_true("the third is back", || {
        names(at, 12) == set(&["one", "two", "three"])
    });

    assert_eq!(daemon.relayctl(&["host", "disable", "1"]).code, 0);
    wait::until_true("the disabled one is out", || {
        names(at, 6) == set(&["two", "three"])
    });
    assert_eq!(daemon.relayctl(&["host", "enable", "1"]).code, 0);
    wait::until_true("and in", || names(at, 12) == set(&["one", "two", "three"]));

    assert_eq!(daemon.relayctl(&["redirect", "disable", "shop"]).code, 0);
    daemon.wait_status("redirect", "shop", "disabled");
    wait::until_true("nobody serves", || names(at, 1).is_empty());
    assert_eq!(daemon.relayctl(&["redirect", "enable", "shop"]).code, 0);
    wait::until_true("they serve again", || {
        names(at, 12) == set(&["one", "two", "three"])
    });
}

#[test]
fn an_established_connection_survives_other_hosts_going_down() {
    let mut servers = Server::row(Speech::Echo, &["one", "two"]);
    let target = servers[0].port();
    let at = port();
    let daemon = Daemon::start(&format!(
        "interval 1
timeout 500
prefork 1
table <t> {{ 127.0.0.1 127.0.0.2 }}
redirect r {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {target} check tcp
}}
"
    ));
    daemon.wait_status("table", &format!("t:{target}"), "active (2 hosts)");
    let mut client = wait::until("a connection to one", || {
        Echo::connect(local(at)).ok().filter(|c| c.name == "one")
    });
    client.exchange(b"before").unwrap();
    servers[1].stop();
    daemon.wait_status("host", "127.0.0.2", "down");
    client.exchange(b"after").unwrap();
    client.bulk(1_000_000).unwrap();
}

#[test]
fn the_backup_table_serves_while_the_main_one_is_empty() {
    let mut servers = Server::row(Speech::Http, &["main", "backup"]);
    let target = servers[0].port();
    let at = port();
    let daemon = Daemon::start(&format!(
        "interval 1
timeout 500
prefork 1
table <main> {{ 127.0.0.1 }}
table <backup> {{ 127.0.0.2 }}
redirect r {{
	listen on 127.0.0.1 port {at}
	forward to <main> port {target} check tcp
	forward to <backup> port {target} check tcp
}}
"
    ));
    daemon.wait_rows(&[("redirect", "r", "active"), ("host", "127.0.0.2", "up")]);
    wait::until_true("main serves", || names(at, 4) == set(&["main"]));
    servers[0].stop();
    daemon.wait_status("redirect", "r", "active (using backup table)");
    wait::until_true("backup serves", || names(at, 4) == set(&["backup"]));
    servers[1].stop();
    daemon.wait_status("redirect", "r", "down");
    wait::until_true("nobody serves", || names(at, 1).is_empty());
    servers[0].start();
    daemon.wait_status("redirect", "r", "active");
    wait::until_true("main serves again", || names(at, 4) == set(&["main"]));
}

#[test]
fn datagrams_are_forwarded_and_answered() {
    let (at, target) = (port(), port());
    // What the check asks and what carries the datagrams are two sockets of one server.
    let mut checks: Vec<Server> = [1, 2]
        .map(|last| {
            let address = (Ipv4Addr::new(127, 0, 0, last), target).into();
            Server::at("check", Speech::Echo, address)
        })
        .into();
    let _servers = [("one", 1), ("two", 2)]
        .map(|(name, last)| UdpServer::at(name, (Ipv4Addr::new(127, 0, 0, last), target).into()));
    let daemon = Daemon::start(&format!(
        "interval 1
timeout 500
prefork 1
table <t> {{ 127.0.0.1 127.0.0.2 }}
redirect r {{
	listen on 127.0.0.1 udp port {at}
	forward to <t> port {target} check tcp
}}
"
    ));
    daemon.wait_status("table", &format!("t:{target}"), "active (2 hosts)");
    let ask = || {
        let answer = datagram(local(at), b"hello", Duration::from_secs(1)).ok()?;
        let text = String::from_utf8(answer).unwrap();
        text.strip_suffix(":hello").map(ToOwned::to_owned)
    };
    wait::until_true("both answer", || {
        let names: BTreeSet<String> = (0..8).filter_map(|_| ask()).collect();
        names == set(&["one", "two"])
    });
    checks[0].stop();
    daemon.wait_status("host", "127.0.0.1", "down");
    wait::until_true("only two answers", || {
        let names: BTreeSet<String> = (0..6).filter_map(|_| ask()).collect();
        names == set(&["two"])
    });
}

#[test]
fn the_kernel_spreads_connections_over_hosts_that_are_up() {
    needs_namespaces!();
    let network = Network::new();
    let mut servers = network.serve();
    let settings = Settings {
        backend: "nftables",
        netns: Some(&network.balancer),
        ..Settings::default()
    };
    let daemon = Daemon::with(
        settings,
        "interval 1
timeout 500
prefork 1
table <four> { 192.0.2.18 192.0.2.34 192.0.2.50 }
table <six> { 2001:db8:1::2 2001:db8:2::2 2001:db8:3::2 }
redirect four {
	listen on 198.51.100.1 port 8080
	forward to <four> port 80 check tcp
}
redirect six {
	listen on 2001:db8::1 port 8080
	forward to <six> port 80 check tcp
}
",
    );
    daemon.wait_rows(&[
        ("table", "four:80", "active (3 hosts)"),
        ("table", "six:80", "active (3 hosts)"),
    ]);
    let all = set(&["1", "2", "3"]);
    for to in ["198.51.100.1:8080", "[2001:db8::1]:8080"] {
        let to: SocketAddr = to.parse().unwrap();
        wait::until_true("all three serve", || network.names(to, 12) == all);
        // One connection to each server stays open over everything that follows.
        let mut kept: Vec<Echo> = network.client.run(move || {
            let mut kept = Vec::new();
            for name in ["1", "2", "3"] {
                kept.push(wait::until("a connection to each", || {
                    Echo::connect(to).ok().filter(|client| client.name == name)
                }));
            }
            kept
        });
        for server in &mut servers[1] {
            server.stop();
        }
        daemon.wait_rows(&[
            ("table", "four:80", "active (2 hosts)"),
            ("table", "six:80", "active (2 hosts)"),
        ]);
        wait::until_true("two serve", || network.names(to, 4) == set(&["1", "3"]));
        assert_eq!(
            network.names(to, 40),
            set(&["1", "3"]),
            "the dead one got some"
        );
        for client in kept.iter_mut().filter(|client| client.name != "2") {
            client.exchange(b"undisturbed").unwrap();
            client.bulk(100_000).unwrap();
        }
        for server in &mut servers[1] {
            server.start();
        }
        wait::until_true("all three again", || network.names(to, 12) == all);
    }
    assert_eq!(daemon.relayctl(&["redirect", "disable", "four"]).code, 0);
    let to: SocketAddr = "198.51.100.1:8080".parse().unwrap();
    wait::until_true("refused", || network.names(to, 1).is_disjoint(&all));
    // A clean stop withdraws the rules.
    let settled = daemon.stop();
    assert!(settled.0.success(), "{:#?}", settled.1);
}
