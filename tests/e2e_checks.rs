//! Checks: every type against a server that is well, ill, silent or gone; by address and by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::Ipv4Addr;
use support::servers::Speech;
use support::{Daemon, Netns, Server, Settings, port};

/// A relay whose table holds `host`, checked by `check` on `port`.
fn config(host: &str, port: u16, check: &str) -> String {
    format!(
        "interval 1
timeout 500
prefork 1
log host checks
table <t> {{ {host} }}
relay r {{
	listen on 127.0.0.1 port {}
	forward to <t> port {port} {check}
}}
",
        support::port()
    )
}

/// Splits the log line of a check: type, reason (with the HTTP code), old and new state, availability.
fn parse(line: &str, host: &str) -> (String, String, String, String, f64) {
    let rest = line.strip_prefix(&format!("host {host}, check ")).unwrap();
    let (kind, rest) = rest.split_once(" (").unwrap();
    let (milliseconds, rest) = rest.split_once("ms,").unwrap();
    milliseconds.parse::<u32>().unwrap();
    let (reason, rest) = rest.split_once("), state ").unwrap();
    let (states, availability) = rest.split_once(", availability ").unwrap();
    let (old, new) = states.split_once(" -> ").unwrap();
    let percent = availability.strip_suffix('%').unwrap();
    assert_eq!(percent.split_once('.').unwrap().1.len(), 2, "{line}");
    (
        kind.to_owned(),
        reason.to_owned(),
        old.to_owned(),
        new.to_owned(),
        percent.parse().unwrap(),
    )
}

/// Waits for the line in which the host's state changes; checks what it says.
fn changes(
    daemon: &Daemon,
    mark: usize,
    host: &str,
    kind: &str,
    reason: &str,
    states: (&str, &str),
) {
    let line = daemon.wait_line_since(mark, &format!("state {} -> {}", states.0, states.1));
    let (found_kind, found_reason, old, new, availability) = parse(&line, host);
    assert_eq!(
        (
            found_kind.as_str(),
            found_reason.as_str(),
            old.as_str(),
            new.as_str()
        ),
        (kind, reason, states.0, states.1),
        "{line}"
    );
    assert!((0.0..=100.0).contains(&availability), "{line}");
}

#[test]
fn tcp_notices_a_closed_port_and_its_return() {
    let mut server = Server::echo("one");
    let daemon = Daemon::start(&config("127.0.0.1", server.port(), "check tcp"));
    changes(
        &daemon,
        0,
        "127.0.0.1",
        "tcp",
        "tcp connect ok",
        ("unknown", "up"),
    );
    daemon.wait_status("host", "127.0.0.1", "up");

    let mark = daemon.mark();
    server.stop();
    changes(
        &daemon,
        mark,
        "127.0.0.1",
        "tcp",
        "tcp connect failed",
        ("up", "down"),
    );
    daemon.wait_status("host", "127.0.0.1", "down");
    let hosts = daemon.relayctl(&["show", "hosts"]).stdout;
    assert!(hosts.contains(", error: tcp connect failed"), "{hosts}");

    let mark = daemon.mark();
    server.start();
    changes(
        &daemon,
        mark,
        "127.0.0.1",
        "tcp",
        "tcp connect ok",
        ("down", "up"),
    );
    daemon.wait_status("host", "127.0.0.1", "up");
}

#[test]
fn http_code_wants_exactly_that_code_in_time() {
    let server = Server::http("one");
    let daemon = Daemon::start(&config(
        "127.0.0.1",
        server.port(),
        "check http \"/health\" code 200",
    ));
    let kind = "http code";
    changes(
        &daemon,
        0,
        "127.0.0.1",
        kind,
        "http code ok,200",
        ("unknown", "up"),
    );
    let request = &server.requests()[0];
    assert!(
        request.starts_with("HEAD /health HTTP/1.0\r\n"),
        "{request}"
    );

    let mark = daemon.mark();
    server.answer(503);
    changes(
        &daemon,
        mark,
        "127.0.0.1",
        kind,
        "http code mismatch,503",
        ("up", "down"),
    );

    let mark = daemon.mark();
    server.answer(200);
    changes(
        &daemon,
        mark,
        "127.0.0.1",
        kind,
        "http code ok,200",
        ("down", "up"),
    );

    let mark = daemon.mark();
    server.hang(true);
    changes(
        &daemon,
        mark,
        "127.0.0.1",
        kind,
        "tcp read timeout",
        ("up", "down"),
    );
}

#[test]
fn http_code_with_a_host_speaks_http_1_1() {
    let server = Server::http("one");
    let daemon = Daemon::start(&config(
        "127.0.0.1",
        server.port(),
        "check http \"/\" host \"www.example.com\" code 200",
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    let request = &server.requests()[0];
    assert!(request.starts_with("HEAD / HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Host: www.example.com\r\n"), "{request}");
    assert!(request.contains("Connection: close\r\n"), "{request}");
}

#[test]
fn hosts_are_found_by_ipv6_and_by_name() {
    let port = port();
    let _six = Server::at(
        "six",
        Speech::Echo,
        format!("[::1]:{port}").parse().unwrap(),
    );
    let _four = Server::at("four", Speech::Echo, (Ipv4Addr::LOCALHOST, port).into());
    for host in ["::1", "localhost"] {
        let daemon = Daemon::start(&config(host, port, "check tcp"));
        daemon.wait_status("host", host, "up");
        changes(&daemon, 0, host, "tcp", "tcp connect ok", ("unknown", "up"));
    }
}

#[test]
fn retry_covers_failures() {
    let mut server = Server::echo("one");
    let daemon = Daemon::start(&config("127.0.0.1 retry 2", server.port(), "check tcp"));
    daemon.wait_status("host", "127.0.0.1", "up");
    let mark = daemon.mark();
    server.stop();
    daemon.wait_line_since(mark, "state up -> down");
    let failures: Vec<String> = daemon
        .lines_since(mark)
        .into_iter()
        .filter(|line| line.contains("check tcp") && line.contains("tcp connect failed"))
        .collect();
    assert_eq!(failures.len(), 3, "{failures:#?}");
    assert!(failures[0].contains("state up -> up"), "{failures:#?}");
}

#[test]
fn poll_checks_at_once() {
    let server = Server::echo("one");
    let config =
        config("127.0.0.1", server.port(), "check tcp").replace("interval 1", "interval 300");
    let daemon = Daemon::start(&config);
    daemon.wait_status("host", "127.0.0.1", "up");
    let mark = daemon.mark();
    assert_eq!(daemon.relayctl(&["poll"]).stdout, "command succeeded\n");
    daemon.wait_line_since(mark, "check tcp");
}

#[test]
fn icmp_reaches_addresses_that_answer_and_only_those() {
    needs_namespaces!();
    let (here, there) = (Netns::new("here"), Netns::new("there"));
    Netns::join(
        (&here, "eth0", &["192.0.2.1/24", "2001:db8::1/64"]),
        (&there, "eth0", &["192.0.2.2/24", "2001:db8::2/64"]),
    );
    let config = "interval 1
timeout 300
prefork 1
log host checks
table <t> { 192.0.2.2 2001:db8::2 192.0.2.77 }
relay r {
	listen on 127.0.0.1 port 8080
	forward to <t> port 80 check icmp
}
";
    let settings = Settings {
        netns: Some(&here),
        ..Settings::default()
    };
    let daemon = Daemon::with(settings, config);
    daemon.wait_rows(&[
        ("host", "192.0.2.2", "up"),
        ("host", "2001:db8::2", "up"),
        ("host", "192.0.2.77", "down"),
    ]);
    let line = daemon.wait_line("host 192.0.2.2, check icmp");
    let (kind, reason, _, _, availability) = parse(&line, "192.0.2.2");
    assert_eq!((kind.as_str(), reason.as_str()), ("icmp", "icmp ok"));
    assert_eq!(availability, 100.0);
    let line = daemon.wait_line("host 192.0.2.77, check icmp");
    assert_eq!(parse(&line, "192.0.2.77").1, "icmp read timeout");

    there.ip(&["link", "set", "eth0", "down"]);
    daemon.wait_rows(&[
        ("host", "192.0.2.2", "down"),
        ("host", "2001:db8::2", "down"),
    ]);
    there.ip(&["link", "set", "eth0", "up"]);
    // IPv6 addresses leave with the interface.
    daemon.wait_status("host", "192.0.2.2", "up");
}
