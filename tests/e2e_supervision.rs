//! What happens when a process dies: the failure table of ARCHITECTURE.md, each row ten times in a row, under traffic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::sys::signal::Signal;
use std::net::{Ipv4Addr, SocketAddr};
use support::client::Echo;
use support::process::Process;
use support::servers::Speech;
use support::traffic::{CLIENTS, Traffic};
use support::{Daemon, Netns, Server, Settings, port, process, wait};

/// How often each process is killed.
const TIMES: usize = 10;

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Kills a process of a role and waits until another stands in its place.
fn replace(daemon: &Daemon, title: &str) {
    let before = daemon.role(title);
    assert!(!before.is_empty(), "no {title}");
    let victim: &Process = &before[0];
    daemon.kill(victim);
    wait::until_true(&format!("a new {title}"), || {
        let now = daemon.role(title);
        now.len() == before.len() && now.iter().all(|p| p.pid != victim.pid)
    });
}

fn relay(target: u16, at: u16) -> String {
    format!(
        "interval 1
timeout 500
prefork 2
log host checks
table <t> {{ 127.0.0.1 }}
relay r {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {target} check tcp
}}
"
    )
}

#[test]
fn a_dead_relay_process_refuses_nobody() {
    let server = Server::echo("one");
    let at = port();
    let daemon = Daemon::start(&relay(server.port(), at));
    daemon.wait_status("host", "127.0.0.1", "up");
    let traffic = Traffic::start(local(at), None);
    traffic.flows(50);
    for _ in 0..TIMES {
        replace(&daemon, "socket relay engine");
        traffic.flows(50);
    }
    let (refused, broken) = traffic.end();
    assert_eq!(refused, 0, "connections were refused");
    // Only the sessions of the dead process may break: at most one per client and kill.
    assert!(broken <= CLIENTS * TIMES, "{broken} broken");
    assert!(daemon.stop().0.success());
}

#[test]
fn a_dead_check_engine_lets_no_state_flap() {
    let mut server = Server::echo("one");
    let at = port();
    let daemon = Daemon::start(&relay(server.port(), at));
    daemon.wait_status("host", "127.0.0.1", "up");
    let mark = daemon.mark();
    let traffic = Traffic::start(local(at), None);
    for _ in 0..TIMES {
        replace(&daemon, "host check engine");
        let summary = daemon.summary();
        let states: Vec<String> = support::daemon::rows(&summary)
            .filter(|row| row[1] == "host")
            .map(|row| row[4].clone())
            .collect();
        assert_eq!(states, ["up"], "{summary}");
        traffic.flows(50);
    }
    let (refused, broken) = traffic.end();
    assert_eq!((refused, broken), (0, 0));
    // It checks again: a round is logged, and a stop is noticed.
    let last = daemon.mark();
    daemon.wait_line_since(last, "state up -> up");
    for line in daemon.lines_since(mark) {
        assert!(
            !line.contains("-> down") && !line.contains("unknown ->"),
            "{line}"
        );
    }
    server.stop();
    daemon.wait_status("host", "127.0.0.1", "down");
}

#[test]
fn a_dead_filter_engine_stops_no_redirect_in_user_space() {
    let server = Server::echo("one");
    let at = port();
    let daemon = Daemon::start(&relay(server.port(), port()).replace(
        "relay r {",
        &format!(
            "redirect d {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {} check tcp
}}
relay r {{",
            server.port()
        ),
    ));
    daemon.wait_status("redirect", "d", "active");
    let mut kept = wait::until("a connection", || Echo::connect(local(at)).ok());
    let traffic = Traffic::start(local(at), None);
    for _ in 0..TIMES {
        replace(&daemon, "pf update engine");
        traffic.flows(50);
        kept.exchange(b"alive").unwrap();
        daemon.wait_status("redirect", "d", "active");
    }
    assert_eq!(traffic.end(), (0, 0));
}

#[test]
fn a_dead_filter_engine_stops_no_redirect_in_the_kernel() {
    needs_namespaces!();
    let (client, balancer, servers) = (
        Netns::new("client"),
        Netns::new("balancer"),
        Netns::new("servers"),
    );
    Netns::join(
        (&client, "eth0", &["198.51.100.2/24"]),
        (&balancer, "front", &["198.51.100.1/24"]),
    );
    Netns::join(
        (&balancer, "back", &["192.0.2.1/24"]),
        (&servers, "eth0", &["192.0.2.11/24", "192.0.2.12/24"]),
    );
    client.ip(&["route", "add", "default", "via", "198.51.100.1"]);
    servers.ip(&["route", "add", "default", "via", "192.0.2.1"]);
    balancer.sysctl("net.ipv4.ip_forward", "1");
    let _servers = ["192.0.2.11:80", "192.0.2.12:80"]
        .map(|at| Server::inside(&servers, at, Speech::Echo, at.parse().unwrap()));
    let settings = Settings {
        backend: "nftables",
        netns: Some(&balancer),
        ..Settings::default()
    };
    let daemon = Daemon::with(
        settings,
        "interval 1
timeout 500
prefork 1
table <t> { 192.0.2.11 192.0.2.12 }
redirect d {
	listen on 198.51.100.1 port 8080
	forward to <t> port 80 check tcp
}
",
    );
    daemon.wait_status("table", "t:80", "active (2 hosts)");
    daemon.wait_status("redirect", "d", "active");
    let to: SocketAddr = "198.51.100.1:8080".parse().unwrap();
    let mut kept = client.run(move || wait::until("a connection", || Echo::connect(to).ok()));
    let traffic = Traffic::start(to, Some(&client));
    traffic.flows(50);
    for _ in 0..TIMES {
        replace(&daemon, "pf update engine");
        traffic.flows(50);
        kept.exchange(b"alive").unwrap();
        daemon.wait_status("redirect", "d", "active");
    }
    assert_eq!(traffic.end(), (0, 0));
}

#[test]
fn a_dead_session_is_one_closed_connection() {
    let (steady, dying) = (Server::echo("steady"), Server::echo("dying"));
    let (at, other) = (port(), port());
    let second = relay(dying.port(), other)
        .replace("<t>", "<u>")
        .replace("relay r", "relay s");
    let daemon = Daemon::start(&format!(
        "{}{}",
        relay(steady.port(), at),
        second.split_once("log host checks\n").unwrap().1
    ));
    daemon.wait_rows(&[
        ("table", &format!("t:{}", steady.port()), "active"),
        ("table", &format!("u:{}", dying.port()), "active"),
    ]);
    let relays = daemon.role("socket relay engine");
    let mut others: Vec<Echo> = (0..8).map(|_| Echo::connect(local(at)).unwrap()).collect();
    for _ in 0..TIMES {
        let mut victim = Echo::connect(local(other)).unwrap();
        victim.exchange(b"alive").unwrap();
        dying.close_connections();
        assert!(victim.closed());
        for client in &mut others {
            client.exchange(b"alive").unwrap();
        }
    }
    assert_eq!(
        daemon.role("socket relay engine"),
        relays,
        "a process was replaced"
    );
}

#[test]
fn children_end_with_their_parent() {
    let server = Server::echo("one");
    let daemon = Daemon::start(&relay(server.port(), port()));
    let children = process::children(daemon.pid());
    assert!(children.len() >= 4, "{children:#?}");
    daemon.signal(Signal::SIGKILL);
    wait::until_true("no child is left", || {
        children.iter().all(|child| !process::alive(child.pid))
    });
}

#[test]
fn dying_too_often_ends_the_daemon_and_says_why() {
    let server = Server::echo("one");
    let mut daemon = Daemon::start(&relay(server.port(), port()));
    let mut kills = 0;
    // As a process that dies at once whenever it is started.
    wait::within(
        std::time::Duration::from_secs(60),
        "the daemon gives up",
        || {
            for child in daemon.role("host check engine") {
                daemon.kill(&child);
                kills += 1;
            }
            (!process::alive(daemon.pid())).then_some(())
        },
    );
    let status = daemon.wait_end();
    assert_eq!(status.code(), Some(1));
    assert!(kills > TIMES, "gave up after {kills} deaths");
    let lines = daemon.lines();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("host check engine") && line.contains("giving up")),
        "{lines:#?}"
    );
}
