//! Relays: bytes pass unchanged, hosts are chosen by mode, fallback tables serve, sessions end and are logged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use support::client::{Echo, Http, who};
use support::servers::Speech;
use support::{Daemon, Server, curl, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Globals every test here wants.
const GLOBALS: &str = "interval 1\ntimeout 500\nprefork 1\nlog connection\n";

#[test]
fn tcp_carries_bulk_both_ways_with_and_without_splice() {
    let server = Server::echo("one");
    let (with, without) = (port(), port());
    let target = server.port();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}
table <t> {{ 127.0.0.1 }}
tcp protocol plain {{ tcp no splice }}
relay spliced {{
	listen on 127.0.0.1 port {with}
	forward to <t> port {target} check tcp
}}
relay copied {{
	listen on 127.0.0.1 port {without}
	protocol plain
	forward to <t> port {target} check tcp
}}
"
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    for at in [with, without] {
        let mut client = wait::until("a connection", || Echo::connect(local(at)).ok());
        assert_eq!(client.name, "one");
        client.exchange(b"a few bytes").unwrap();
        client.bulk(24 * 1024 * 1024).unwrap();
        client.exchange(b"and a few more").unwrap();
    }
    // Sessions are numbered over all relays of a process.
    for (name, number) in [("spliced", 1), ("copied", 2)] {
        let line = daemon.wait_line(&format!("relay {name}, session {number} ("));
        let (start, end) = line.split_once(" active), 0, ").unwrap();
        assert!(start.ends_with(|c: char| c.is_ascii_digit()), "{line}");
        assert!(
            end.starts_with(&format!("127.0.0.1 -> 127.0.0.1:{target}, ")),
            "{line}"
        );
        assert!(line.contains("done"), "{line}");
    }
}

#[test]
fn http_keeps_connections_and_applies_rules() {
    let server = Server::http("one");
    let at = port();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}
table <t> {{ 127.0.0.1 }}
http protocol web {{
	match request header append \"X-Added\" value \"yes\"
	match response header set \"X-Balancer\" value \"relayd\"
	pass
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <t> port {} check http \"/\" code 200
}}
",
        server.port()
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    let mut client = Http::connect(local(at)).unwrap();
    for round in 0..3 {
        let path = format!("/round/{round}");
        let answer = client.ask("GET", &path, &[]).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, format!("GET {path}\n"));
        assert_eq!(answer.header("x-balancer"), Some("relayd"));
    }
    assert_eq!(client.ask("GET", "/chunked", &[]).unwrap().body, "one, two");
    assert_eq!(client.ask("HEAD", "/", &[]).unwrap().status, 200);
    assert_eq!(
        client.ask("GET", "/big/3000000", &[]).unwrap().body.len(),
        3_000_000
    );
    let head = client.ask("GET", "/head", &[]).unwrap().body;
    assert!(head.contains("X-Added: yes\r\n"), "{head}");
    client
        .send(b"POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello")
        .unwrap();
    assert_eq!(client.answer("POST").unwrap().body, "POST /form\n");
    drop(client);
    let line = daemon.wait_line("relay www, session 1 (");
    assert!(
        line.contains(&format!("127.0.0.1 -> 127.0.0.1:{}, ", server.port())),
        "{line}"
    );

    // The same with curl, twice on one connection.
    let url = format!("http://127.0.0.1:{at}/");
    let answer = curl(&["-i", &url, &url, "-w", "%{num_connects}"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(answer.stdout.matches("X-Balancer: relayd").count(), 2);
    assert_eq!(answer.stdout.matches("one\n").count(), 2);
}

/// Who answers, by number of answers.
fn count(at: u16, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts
            .entry(Echo::connect(local(at)).unwrap().name)
            .or_default() += 1;
    }
    counts
}

#[test]
fn roundrobin_is_even_and_loadbalance_is_faithful() {
    let servers = Server::row(Speech::Echo, &["one", "two", "three"]);
    let target = servers[0].port();
    let (even, faithful) = (port(), port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}
table <t> {{ 127.0.0.1 127.0.0.2 127.0.0.3 }}
relay even {{
	listen on 127.0.0.1 port {even}
	forward to <t> port {target} mode roundrobin check tcp
}}
relay faithful {{
	listen on 127.0.0.1 port {faithful}
	forward to <t> port {target} mode loadbalance check tcp
}}
"
    ));
    let up = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|host| ("host", host, "up"));
    daemon.wait_rows(&up);
    let counts = count(even, 30);
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|n| *n == 10), "{counts:?}");
    assert_eq!(count(faithful, 10).len(), 1);
}

#[test]
fn a_dead_host_gets_nothing_and_the_next_table_serves() {
    let mut first = Server::http("first");
    let mut second = Server::http("second");
    let third = Server::http("third");
    let at = port();
    let daemon = Daemon::start(
        &format!(
            "{GLOBALS}
table <a> {{ 127.0.0.1 }}
table <b> {{ 127.0.0.1 }}
table <c> {{ 127.0.0.1 }}
http protocol web {{ return error pass }}
relay chain {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <a> port {} check http \"/\" code 200
	forward to <b> port {} check http \"/\" code 200
	forward to <c> port {} check http \"/\" code 200
}}
",
            first.port(),
            second.port(),
            third.port()
        )
        .replace("{ return error pass }", "{\n\treturn error\n\tpass\n}"),
    );
    let serves = |name: &str| {
        wait::until_true(&format!("{name} serves"), || {
            who(local(at)).as_deref() == Some(name)
        });
    };
    serves("first");
    first.stop();
    serves("second");
    second.stop();
    serves("third");
    second.start();
    serves("second");
    first.start();
    serves("first");
    daemon.wait_status("table", &format!("a:{}", first.port()), "active (1 hosts)");
}

#[test]
fn an_idle_session_is_closed_after_its_time_out() {
    let server = Server::echo("one");
    let (with, without) = (port(), port());
    let target = server.port();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}
table <t> {{ 127.0.0.1 }}
tcp protocol plain {{ tcp no splice }}
relay spliced {{
	listen on 127.0.0.1 port {with}
	forward to <t> port {target} check tcp
	session timeout 2
}}
relay copied {{
	listen on 127.0.0.1 port {without}
	protocol plain
	forward to <t> port {target} check tcp
	session timeout 2
}}
"
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    let start = std::time::Instant::now();
    let mut clients = [with, without].map(|at| Echo::connect(local(at)).unwrap());
    for client in &mut clients {
        client.exchange(b"awake").unwrap();
    }
    for client in &mut clients {
        assert!(client.closed());
    }
    let waited = start.elapsed().as_secs_f64();
    assert!((1.0..8.0).contains(&waited), "{waited} s");
    let line = daemon.wait_line("relay copied, session ");
    assert!(line.contains("buffer event timeout"), "{line}");
    let line = daemon.wait_line("relay spliced, session ");
    assert!(line.contains(" timeout"), "{line}");
}

#[test]
fn sessions_are_listed_while_they_run() {
    let server = Server::echo("one");
    let at = port();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}
table <t> {{ 127.0.0.1 }}
relay r {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {} check tcp
}}
",
        server.port()
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    assert_eq!(daemon.relayctl(&["show", "sessions"]).stdout, "");
    let client = Echo::connect(local(at)).unwrap();
    let listing = daemon.relayctl(&["show", "sessions"]).stdout;
    assert!(
        listing.starts_with(&format!(
            "session 0:1 127.0.0.1:{} -> 127.0.0.1:{}\tRUNNING\n\tage 00:00:0",
            client.local().port(),
            server.port()
        )),
        "{listing}"
    );
    let relay = &daemon.role("socket relay engine")[0];
    assert!(
        listing.contains(&format!("relay 1, pid {}\n", relay.pid)),
        "{listing}"
    );
    drop(client);
    wait::until_true("no session", || {
        daemon.relayctl(&["show", "sessions"]).stdout.is_empty()
    });
}

#[test]
fn prefork_processes_all_accept() {
    let server = Server::echo("one");
    let at = port();
    let daemon = Daemon::start(&format!(
        "interval 1
timeout 500
prefork 3
table <t> {{ 127.0.0.1 }}
relay r {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {} check tcp
}}
",
        server.port()
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    assert_eq!(daemon.role("socket relay engine").len(), 3);
    let adding = daemon
        .lines()
        .into_iter()
        .filter(|line| *line == format!("adding 1 hosts from table t:{}", server.port()))
        .count();
    assert_eq!(adding, 3);
    let clients: Vec<Echo> = (0..60)
        .map(|_| wait::until("a connection", || Echo::connect(local(at)).ok()))
        .collect();
    let listing = daemon.relayctl(&["show", "sessions"]).stdout;
    let pids: std::collections::BTreeSet<&str> = listing
        .lines()
        .filter_map(|line| line.split("pid ").nth(1))
        .collect();
    assert_eq!(
        listing.matches("RUNNING").count(),
        clients.len(),
        "{listing}"
    );
    assert_eq!(pids.len(), 3, "{listing}");
}
