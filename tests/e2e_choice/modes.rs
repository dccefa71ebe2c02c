//! Every mode, also while a host is down or starts slowly.

use super::*;
use crate::support::client::Echo;
use crate::support::servers::Speech;
use crate::support::{BOUND, Daemon, Server, port, wait};
use conf::model::HashKey;
use protocols::balance::Hash;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

/// Name of the server that answers a client with this address.
fn who_for(client: Ipv4Addr, at: u16) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&local(at).into()).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut stream = TcpStream::from(socket);
    let (mut name, mut byte) = (String::new(), [0]);
    while stream.read(&mut byte).unwrap_or(0) == 1 && byte != *b"\n" {
        name.push(char::from(byte[0]));
    }
    name
}

#[test]
fn every_mode_is_exact_over_three_processes() {
    let servers = Server::row(Speech::Echo, &NAMES);
    let target = servers[0].port();
    let at: Vec<u16> = (0..7).map(|_| port()).collect();
    let relays: String = [
        ("even", "t", "mode roundrobin"),
        ("weighted", "w", "mode roundrobin"),
        ("chance", "t", "mode random"),
        ("source", "t", &format!("mode source-hash \"{KEY}\"")),
        ("load", "t", &format!("mode loadbalance \"{KEY}\"")),
        ("hash", "t", &format!("mode hash \"{KEY}\"")),
        ("least", "t", "mode least-connections"),
    ]
    .iter()
    .zip(&at)
    .map(|((name, table, mode), at)| relay(name, *at, table, target, mode))
    .collect();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 127.0.0.2 127.0.0.3 }}
table <w> {{ 127.0.0.1 weight 2, 127.0.0.2, 127.0.0.3 }}
{relays}"
    ));
    all_up(&daemon, &HOSTS);
    // Each process goes round by itself: it can be off by less than one for each host.
    let counts = count(at[0], 60);
    assert!(
        NAMES.iter().all(|n| counts[*n].abs_diff(20) <= 2),
        "{counts:?}"
    );
    let counts = count(at[1], 60);
    assert!(counts["one"].abs_diff(30) <= 3, "{counts:?}");
    assert!(counts["two"].abs_diff(15) <= 3, "{counts:?}");
    // Six standard deviations of 5.2.
    let counts = count(at[2], 120);
    assert!(
        NAMES.iter().all(|n| counts[*n].abs_diff(40) <= 31),
        "{counts:?}"
    );
    // Open connections of all processes count, and of all relays with this table.
    wait::until_true("nothing is open", || {
        let open = |host: &&str| shown(&daemon, "hosts", host, "connections");
        HOSTS.iter().all(|host| open(host) == 0)
    });
    let held: Vec<Echo> = (0..12)
        .map(|_| Echo::connect(local(at[6])).unwrap())
        .collect();
    for name in NAMES {
        assert_eq!(held.iter().filter(|e| e.name == name).count(), 4);
    }
    for (relay, at) in ["source", "load", "hash"].iter().zip(&at[3..]) {
        faithful(relay, *at, [true; 3]);
    }
}

/// Several clients, each several times: who answers is what the reference says.
fn faithful(relay: &str, at: u16, up: [bool; 3]) {
    let key = HashKey(std::array::from_fn(|i| i as u8));
    for last in 1..12 {
        let client = Ipv4Addr::new(127, 0, 7, last);
        let mut hash = Hash::new(&key);
        if relay != "hash" {
            hash.address(IpAddr::from(client));
        }
        if relay != "source" {
            hash.address(IpAddr::from(Ipv4Addr::LOCALHOST));
            hash.port(at);
        }
        let expected = NAMES[reference(hash.finish(), up)];
        for _ in 0..3 {
            assert_eq!(who_for(client, at), expected, "{relay} {client}");
        }
    }
}

/// The original's way: the remainder, shifted by a bit as often as there are hosts, then the next host that is up.
fn reference(mut number: u64, up: [bool; 3]) -> usize {
    let mut last = 0;
    for _ in 0..3 {
        last = (number % 3) as usize;
        if up[last] {
            return last;
        }
        number >>= 1;
    }
    (last..3).chain(0..last).find(|i| up[*i]).unwrap()
}

#[test]
fn clients_of_a_dead_host_move_as_in_the_original_and_come_back() {
    let mut servers = Server::row(Speech::Echo, &NAMES);
    let target = servers[0].port();
    let (source, load) = (port(), port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 127.0.0.2 127.0.0.3 }}\n{}{}",
        relay(
            "source",
            source,
            "t",
            target,
            &format!("mode source-hash \"{KEY}\"")
        ),
        relay(
            "load",
            load,
            "t",
            target,
            &format!("mode loadbalance \"{KEY}\" slow start 600")
        ),
    ));
    all_up(&daemon, &HOSTS);
    servers[1].stop();
    daemon.wait_status("host", "127.0.0.2", "down");
    wait::until_true("both tables know", || {
        daemon.summary().matches("down").count() == 2
    });
    faithful("source", source, [true, false, true]);
    faithful("load", load, [true, false, true]);
    servers[1].start();
    wait::until_true("both tables know", || !daemon.summary().contains("down"));
    // A host that starts slowly has all its clients at once in a hashing mode.
    faithful("source", source, [true; 3]);
    faithful("load", load, [true; 3]);
}

#[test]
fn a_host_that_returns_starts_slowly_in_all_processes() {
    let mut servers = Server::row(Speech::Echo, &["one", "two"]);
    let target = servers[0].port();
    let at: Vec<u16> = (0..3).map(|_| port()).collect();
    let relays: String = [
        ("round", "mode roundrobin slow start 600"),
        ("chance", "mode random slow start 600"),
        ("soon", "mode roundrobin slow start 1"),
    ]
    .iter()
    .zip(&at)
    .map(|((name, mode), at)| relay(name, *at, "t", target, mode))
    .collect();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 127.0.0.2 }}\n{relays}"
    ));
    wait::until_true("all are up", || {
        daemon.summary().matches("\tup").count() == 6
    });
    // The first start of all is no return.
    let two = |at: u16, times| count(at, times).get("two").copied().unwrap_or(0);
    assert!(two(at[0], 40).abs_diff(20) <= 3);
    servers[1].stop();
    wait::until_true("it is down", || {
        daemon.summary().matches("down").count() == 3
    });
    servers[1].start();
    wait::until_true("it is up", || !daemon.summary().contains("down"));
    for at in &at[..2] {
        // A hundredth and a little more; by chance up to a few.
        assert!(two(*at, 40) <= 6, "{at}");
    }
    wait::until_true("its share is full", || two(at[2], 20).abs_diff(10) <= 3);
}

#[test]
fn least_connections_with_slow_start_give_a_host_few_at_first_and_more_later() {
    let mut servers = Server::row(Speech::Echo, &["one", "two"]);
    let (at, target) = (port(), servers[0].port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <t> {{ 127.0.0.1 127.0.0.2 }}\n{}",
        relay("r", at, "t", target, "mode least-connections slow start 20")
    ));
    all_up(&daemon, &HOSTS[..2]);
    // Of so many connections at once the second host has this many.
    let two = || {
        wait::until_true("nothing is open", || {
            let open = |host: &&str| shown(&daemon, "hosts", host, "connections");
            HOSTS[..2].iter().all(|host| open(host) == 0)
        });
        let held: Vec<_> = (0..44).map(|_| Echo::connect(local(at)).unwrap()).collect();
        held.iter().filter(|echo| echo.name == "two").count()
    };
    assert_eq!(two(), 22);
    servers[1].stop();
    daemon.wait_status("host", "127.0.0.2", "down");
    wait::until_true("all processes know", || two() == 0);
    servers[1].start();
    daemon.wait_status("host", "127.0.0.2", "up");
    // A hundredth, and what a few seconds add.
    let few = two();
    assert!(few <= 10, "{few}");
    let mut more = 0;
    wait::until_true("it has its share", || {
        more = more.max(two());
        more >= 16
    });
    assert!(more <= 22, "{more}");
}

#[test]
fn every_process_uses_the_backup_table_while_the_first_is_down() {
    let mut servers = Server::row(Speech::Echo, &["first", "backup"]);
    let (at, target) = (port(), servers[0].port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}table <first> {{ 127.0.0.1 }}
table <backup> {{ 127.0.0.2 }}
relay r {{
	listen on 127.0.0.1 port {at}
	forward to <first> port {target} check tcp
	forward to <backup> port {target} check tcp
}}
"
    ));
    all_up(&daemon, &HOSTS[..2]);
    // All processes have sessions, and all of them with this server.
    let all_with = |name: &str| {
        let held: Vec<_> = (0..30)
            .filter_map(|_| Echo::connect(local(at)).ok())
            .collect();
        let text = daemon.relayctl(&["-j", "show", "sessions"]).stdout;
        let document: Value = serde_json::from_str(&text).unwrap();
        let sessions = document["sessions"].as_array().unwrap();
        let processes: BTreeSet<_> = sessions.iter().map(|s| s["pid"].as_u64()).collect();
        held.len() == 30 && held.iter().all(|echo| echo.name == name) && processes.len() == 3
    };
    wait::until_true("the first table serves", || all_with("first"));
    servers[0].stop();
    daemon.wait_status("host", "127.0.0.1", "down");
    wait::until_true("the backup serves", || all_with("backup"));
    servers[0].start();
    daemon.wait_status("host", "127.0.0.1", "up");
    wait::until_true("the first table serves again", || all_with("first"));
}
