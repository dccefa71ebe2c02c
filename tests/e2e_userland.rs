//! Redirects in user space with the real daemon, started by nobody: the same options as in the kernel, where they make sense. What does not
//! is refused at `-n` (`e2e_nftables_trouble.rs`); backup tables and datagrams are in `e2e_redirects.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use support::client::{Echo, datagram};
use support::servers::Speech;
use support::{Daemon, Server, Settings, UdpServer, port, process, wait};

/// Three servers, called 1, 2 and 3.
struct Servers {
    servers: Vec<Server>,
    target: u16,
}

impl Servers {
    fn new() -> Servers {
        let servers = Server::row(Speech::Echo, &["1", "2", "3"]);
        let target = servers[0].port();
        Servers { servers, target }
    }

    /// A redirect with two relay processes at `at`; `hosts` is the table's list.
    fn config(&self, at: &str, hosts: &str, mode: &str, options: &str) -> String {
        format!(
            "interval 1
timeout 500
prefork 2
table <t> {{ {hosts} }}
redirect r {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {} {mode} check tcp
	{options}
}}
",
            self.target
        )
    }

    fn start(&self, config: &str, hosts: usize) -> Daemon {
        let daemon = start(config);
        let table = format!("t:{}", self.target);
        let status = format!("active ({hosts} hosts)");
        daemon.wait_rows(&[("table", &table, &status), ("redirect", "r", "active")]);
        daemon
    }
}

/// The daemon without any right, as where nobody may touch a packet filter.
fn start(config: &str) -> Daemon {
    let settings = Settings {
        nobody: true,
        arguments: &["--count-traffic", "true"],
        ..Settings::default()
    };
    Daemon::with(settings, config)
}

const ALL: &str = "127.0.0.1 127.0.0.2 127.0.0.3";

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn open(at: u16) -> Echo {
    wait::until("a connection", || Echo::connect(local(at)).ok())
}

/// How many of `times` connections reach each server, one after the other.
fn tally(at: u16, times: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..times {
        *tally.entry(open(at).name).or_default() += 1;
    }
    tally
}

/// The server of each of twenty clients.
fn clients(at: u16) -> BTreeMap<IpAddr, String> {
    let client = |n: u8| {
        let from = IpAddr::from(Ipv4Addr::new(127, 0, 1, n));
        let to_one = || Echo::connect_from(from, local(at)).ok();
        (from, wait::until("a connection", to_one).name)
    };
    (1..=20).map(client).collect()
}

#[test]
fn random_uses_all_hosts() {
    let servers = Servers::new();
    let at = port();
    let config = servers.config(&at.to_string(), ALL, "mode random", "");
    let _daemon = servers.start(&config, 3);
    let tally = tally(at, 60);
    assert_eq!(tally.len(), 3, "{tally:?}");
    // Never so even by chance in one of many thousand runs, and never so uneven.
    assert!(tally.values().all(|n| *n >= 5), "{tally:?}");
}

#[test]
fn a_host_with_more_weight_gets_more() {
    let servers = Servers::new();
    let at = port();
    let hosts = "127.0.0.1 weight 3 127.0.0.2";
    let config = servers
        .config(&at.to_string(), hosts, "", "")
        .replace("prefork 2", "prefork 1");
    let _daemon = servers.start(&config, 2);
    let tally = tally(at, 40);
    assert_eq!(tally, [("1".to_owned(), 30), ("2".to_owned(), 10)].into());
}

#[test]
fn clients_keep_their_host_by_address_in_all_processes_and_over_a_reload() {
    for (mode, options) in [("", "sticky-address"), ("mode source-hash", "")] {
        let mut servers = Servers::new();
        let at = port();
        let config = servers.config(&at.to_string(), ALL, mode, options);
        let daemon = servers.start(&config, 3);
        let first = clients(at);
        let used: BTreeSet<&String> = first.values().collect();
        assert_eq!(used.len(), 3, "{first:?}");
        assert_eq!(clients(at), first);
        daemon.configure(&config.replace("interval 1", "interval 2"));
        assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
        assert_eq!(clients(at), first);
        let victim = daemon.role("socket relay engine").remove(0);
        daemon.kill(&victim);
        wait::until_true("its end", || !process::alive(victim.pid));
        assert_eq!(clients(at), first);
        // A host that goes takes only its own clients away, and they come back.
        servers.servers[1].stop();
        daemon.wait_status("host", "127.0.0.2", "down");
        let without = clients(at);
        for (client, host) in &first {
            if host == "2" {
                assert_ne!(without[client], "2");
            } else if options.is_empty() {
                assert_eq!(&without[client], host, "{client} moved");
            }
        }
        servers.servers[1].start();
        daemon.wait_status("host", "127.0.0.2", "up");
        wait::until_true("all as before", || clients(at) == first);
    }
}

#[test]
fn a_full_host_passes_connections_on() {
    let servers = Servers::new();
    let at = port();
    let hosts = "127.0.0.1 max connections 2 127.0.0.2 max connections 2";
    let config = servers
        .config(&at.to_string(), hosts, "", "")
        .replace("prefork 2", "prefork 1");
    let _daemon = servers.start(&config, 2);
    let held: Vec<Echo> = (0..4).map(|_| open(at)).collect();
    let mut names: Vec<&str> = held.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["1", "1", "2", "2"]);
    assert!(Echo::connect(local(at)).is_err(), "both are full");
    drop(held);
    assert_eq!(tally(at, 4).len(), 2);
}

#[test]
fn least_states_prefers_the_idle_host() {
    let servers = Servers::new();
    let at = port();
    let config = servers
        .config(&at.to_string(), ALL, "mode least-states", "sticky-address")
        .replace("sticky-address", "")
        .replace("prefork 2", "prefork 1");
    let daemon = start(&config);
    daemon.wait_status("redirect", "r", "active");
    daemon.wait_status(
        "table",
        &format!("t:{}", servers.target),
        "active (3 hosts)",
    );
    let held: Vec<Echo> = (0..6).map(|_| open(at)).collect();
    let mut names: Vec<&str> = held.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["1", "1", "2", "2", "3", "3"]);
    // The connections of one end: the next go there.
    let (gone, kept): (Vec<Echo>, Vec<Echo>) = held.into_iter().partition(|c| c.name == "2");
    drop(gone);
    wait::until_true("two more on 2", || {
        let more = [open(at), open(at)];
        more.iter().all(|client| client.name == "2")
    });
    drop(kept);
}

#[test]
fn a_range_of_ports_is_kept_or_translated_and_sessions_are_counted() {
    let servers = Servers::new();
    let at = wait::until("three free ports", || {
        let first = port();
        let free = |p| std::net::TcpListener::bind(local(p)).is_ok();
        (first < 60000 && free(first + 1) && free(first + 2)).then_some(first)
    });
    let range = format!("{at}:{}", at + 2);
    let daemon = servers.start(&servers.config(&range, ALL, "", ""), 3);
    for p in at..=at + 2 {
        assert_eq!(tally(p, 2).values().sum::<usize>(), 2);
    }
    wait::until_true("six sessions are counted", || {
        let answer = daemon.relayctl(&["-j", "show", "redirects"]);
        let all: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        let redirect = &all["redirects"][0];
        let shares = redirect["shares"].as_array().unwrap();
        let sum: u64 = shares.iter().filter_map(|s| s["sessions"].as_u64()).sum();
        sum == 6 && redirect["statistics"]["total"] == 6
    });
}

#[test]
fn no_process_has_a_right() {
    let servers = Servers::new();
    let at = port();
    let daemon = servers.start(&servers.config(&at.to_string(), ALL, "", ""), 3);
    assert_eq!(tally(at, 3).values().sum::<usize>(), 3);
    let children = process::children(daemon.pid());
    assert!(children.len() >= 4, "{children:?}");
    if !cfg!(target_os = "linux") || !support::root() {
        return support::skip("the rights of processes are looked at on Linux, by root");
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let uids = format!("\nUid:{}\n", format!("\t{}", nobody.uid).repeat(4));
    for pid in children.iter().map(|c| c.pid).chain([daemon.pid()]) {
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(path).unwrap();
        assert!(status.contains(&uids), "{status}");
        assert!(status.contains("\nCapPrm:\t0000000000000000\n"), "{status}");
        assert!(status.contains("\nCapEff:\t0000000000000000\n"), "{status}");
    }
}

#[test]
fn bytes_of_each_host_are_counted() {
    let servers = Servers::new();
    let at = port();
    let config = servers.config(&at.to_string(), ALL, "", "");
    let daemon = servers.start(&config.replace("prefork 2", "prefork 1"), 3);
    for _ in 0..3 {
        let mut client = open(at);
        client.bulk(100_000).unwrap();
    }
    let shares = || {
        let answer = daemon.relayctl(&["-j", "show", "redirects"]);
        let all: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        all["redirects"][0]["shares"].as_array().unwrap().clone()
    };
    wait::until_true("every byte is counted", || {
        let shares = shares();
        shares.len() == 3
            && shares.iter().all(|share| {
                let traffic = &share["traffic"];
                let bytes = |way: &str| traffic[way].as_u64().unwrap();
                assert_eq!(traffic["packets_in"], 0, "the packets of TCP are not seen");
                bytes("bytes_in") == 100_000 && bytes("bytes_out") > 100_000
            })
    });
    let rows = daemon.relayctl(&["show", "redirects"]).stdout;
    assert!(
        rows.contains("\ttotal: 0 packets 300000 bytes in, 0 packets 30"),
        "{rows}"
    );
}

#[test]
fn datagrams_are_counted() {
    let at = port();
    let check = Server::row(Speech::Echo, &["1"]).remove(0);
    let target = check.port();
    let _server = UdpServer::at("one", local(target));
    let daemon = start(&format!(
        "interval 1
timeout 500
prefork 1
table <t> {{ 127.0.0.1 }}
redirect r {{
	listen on 127.0.0.1 udp port {at}
	forward to <t> port {target} check tcp
}}
"
    ));
    daemon.wait_status("redirect", "r", "active");
    wait::until_true("an answer", || {
        datagram(local(at), b"hello", Duration::from_secs(1)).is_ok()
    });
    wait::until_true("as many bytes as packets carry", || {
        let answer = daemon.relayctl(&["-j", "show", "redirects"]);
        let all: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        let traffic = &all["redirects"][0]["shares"][0]["traffic"];
        let of = |name: &str| traffic[name].as_u64().unwrap_or(0);
        // "hello" there, "one:hello" back.
        of("packets_out") > 0
            && of("bytes_out") == 9 * of("packets_out")
            && of("bytes_in") == 5 * of("packets_in")
    });
}
