//! Access logs of the real daemon: what a line says, in every protocol, and equal names everywhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use support::access::{GLOBALS, http_relay, json, text, wait_lines};
use support::client::{Echo, Http, datagram};
use support::{BOUND, Daemon, DnsServer, Scratch, Server, UdpServer, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn a_request_has_one_name_in_log_header_show_sessions_and_session_line() {
    let (server, scratch, at) = (Server::http("one"), Scratch::new(), port());
    let file = scratch.path("access.json");
    let log = format!(
        "log access json with header \"X-Key\" to file \"{}\"",
        file.display()
    );
    let daemon = Daemon::start(&format!(
        "{GLOBALS}prefork 1\n{}",
        http_relay(at, server.port(), &log)
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    let mut client = Http::connect(local(at)).unwrap();
    client.ask("GET", "/tagged?token=secret", &[]).unwrap();
    client
        .send(
            b"GET /head?token=secret&x=\"y HTTP/1.1\r\nHost: example.org\r\nX-Key: a\tb\x80\"c\r\n\
              User-Agent: \"}\\\xff\tevil\r\nReferer: http://u:secret@h/p?secret\r\n\
              Authorization: Basic secret\r\nCookie: secret\r\n\r\n",
        )
        .unwrap();
    let answer = client.answer("GET").unwrap();
    let id = server.requests()[1]
        .lines()
        .find_map(|l| l.strip_prefix("X-Request-Id: "))
        .expect("the header")
        .to_owned();
    let shown = daemon.relayctl(&["-j", "show", "sessions"]);
    let shown = json(&shown.stdout);
    let session = text(&shown["sessions"][0], "session").to_owned();
    assert_eq!(text(&shown["sessions"][0], "request"), id);
    assert_eq!(id, format!("{session}-2"));
    let port = client.local().port();
    drop(client);
    let line = daemon.wait_line(&format!("[id: {session}]"));
    assert!(
        line.contains("relay www, session 1 (0 active), blue, 127.0.0.1 -> "),
        "{line}"
    );
    let all = wait_lines(&file, 2);
    assert_eq!(all.len(), 2);
    let (first, second) = (json(&all[0]), json(&all[1]));
    assert_eq!(text(&first, "id"), format!("{session}-1"));
    assert_eq!(text(&second, "id"), id);
    assert_eq!(text(&second, "session"), session);
    assert_eq!(text(&first, "tag"), "blue");
    assert_eq!(text(&first, "label"), "lime");
    assert_eq!(text(&first["http"], "target"), "/tagged?token=*");
    assert_eq!(text(&second, "relay"), "www");
    assert_eq!(text(&second, "client"), "127.0.0.1");
    assert_eq!(second["client_port"], port);
    assert_eq!(text(&second, "host"), "127.0.0.1");
    assert_eq!(text(&second, "table"), format!("t:{}", server.port()));
    assert_eq!(text(&second, "server"), server.address().to_string());
    assert_eq!(text(&second, "reason"), "done");
    assert_eq!(second["http"]["status"], 200);
    assert_eq!(second["http"]["body_bytes"], answer.body.len());
    let whole = answer.body.len() + answer.head.len();
    assert_eq!(second["bytes_out"], whole);
    for time in ["request", "connect", "first", "total"] {
        assert!(second["times"][time].as_f64().is_some(), "{second}");
    }
    // Whatever a client sends stays within its text, and secrets stay away.
    assert_eq!(text(&second["http"], "user_agent"), "%22}%5C%FF%09evil");
    assert_eq!(text(&second["http"]["headers"], "X-Key"), "a%09b%80%22c");
    assert_eq!(text(&second["http"], "referer"), "http://h/p?*");
    assert!(all.iter().all(|l| !l.contains("secret")), "{all:#?}");
}

#[test]
fn refusals_failures_and_sessions_of_every_protocol_have_a_line() {
    let (server, echo, scratch) = (Server::http("one"), Server::echo("echo"), Scratch::new());
    let ports: Vec<u16> = (0..6).map(|_| port()).collect();
    let (at, tcp, udp, dns) = (ports[0], ports[1], ports[2], ports[3]);
    let (udp_to, dns_to) = (ports[4], ports[5]);
    let _udp = UdpServer::at("u", local(udp_to));
    let _dns = DnsServer::at(local(dns_to), Ipv4Addr::new(10, 1, 2, 3));
    let web = scratch.path("web.log");
    let other = scratch.path("other.log");
    let log = format!("log access with query to file \"{}\"", web.display());
    let to_other = format!("log access json to file \"{}\"", other.display());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}prefork 1\n{}
udp protocol any {{ }}
dns protocol names {{ }}
relay plain {{
	listen on 127.0.0.1 port {tcp}
	{to_other}
	forward to 127.0.0.1 port {}
}}
relay datagrams {{
	listen on 127.0.0.1 port {udp}
	protocol any
	session timeout 1
	{to_other}
	forward to 127.0.0.1 port {udp_to}
}}
relay questions {{
	listen on 127.0.0.1 port {dns}
	protocol names
	{to_other}
	forward to 127.0.0.1 port {dns_to}
}}
",
        http_relay(at, server.port(), &log),
        echo.port(),
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    for (bytes, status) in [
        (
            &b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nUser-Agent: x\"y\r\nConnection: close\r\n\r\n"[..],
            200,
        ),
        (b"GET /blocked HTTP/1.1\r\nHost: h\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
    ] {
        let mut client = Http::connect(local(at)).unwrap();
        client.send(bytes).unwrap();
        assert_eq!(client.answer("GET").unwrap().status, status);
    }
    let all = wait_lines(&web, 3);
    let find = |part: &str| {
        let found = all.iter().find(|l| l.contains(part));
        found.unwrap_or_else(|| panic!("{part} is missing: {all:#?}"))
    };
    let line = find("\"GET /a?b=c HTTP/1.1\" 200 11 \"-\" \"x%22y\" id=");
    assert!(
        line.starts_with("127.0.0.1 - - [") && line.contains("] \"GET"),
        "{line}"
    );
    assert!(
        line.contains(" relay=\"www\" ") && line.ends_with(" reason=\"done\""),
        "{line}"
    );
    let line = find("\"GET /blocked HTTP/1.1\" 403 0 ");
    assert!(
        line.contains("server=- label=\"not %22you%22\" ") && line.contains("reason=\"Forbidden"),
        "{line}"
    );
    let line = find("] \"-\" 400 0 \"-\" \"-\" id=");
    assert!(line.contains("reason=\"malformed"), "{line}");

    let mut client = Echo::connect(local(tcp)).unwrap();
    client.exchange(b"12345").unwrap();
    drop(client);
    assert_eq!(datagram(local(udp), b"hello", BOUND).unwrap(), b"u:hello");
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    assert_eq!(datagram(local(dns), query, BOUND).unwrap()[..2], query[..2]);
    let all: Vec<Value> = wait_lines(&other, 3).iter().map(|l| json(l)).collect();
    for (relay, bytes, reason) in [
        ("plain", [5, 10], "done"),
        ("datagrams", [5, 7], "udp timeout"),
        ("questions", [19, 35], "session closed"),
    ] {
        let line = all.iter().find(|v| v["relay"] == relay).expect(relay);
        assert_eq!(line["bytes_in"], bytes[0], "{line}");
        assert_eq!(line["bytes_out"], bytes[1], "{line}");
        assert_eq!(text(line, "reason"), reason);
        assert_eq!(line["http"], Value::Null);
    }
}

#[test]
fn names_are_unique_over_processes_and_their_restarts() {
    let (server, scratch, at) = (Server::http("one"), Scratch::new(), port());
    let file = scratch.path("access.json");
    let log = format!("log access json to file \"{}\"", file.display());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}prefork 2\n{}",
        http_relay(at, server.port(), &log)
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    let ask = |count| {
        for _ in 0..count {
            assert_eq!(support::client::get(local(at), "/x").unwrap().status, 200);
        }
    };
    ask(20);
    let before = wait_lines(&file, 20).len();
    for process in daemon.role("socket relay engine") {
        daemon.kill(&process);
    }
    wait::until_true("relay processes serve again", || {
        support::client::get(local(at), "/x").is_ok_and(|a| a.status == 200)
    });
    ask(20);
    let all = wait_lines(&file, 40);
    let names: BTreeSet<String> = all
        .iter()
        .map(|l| text(&json(l), "id").to_owned())
        .collect();
    assert_eq!(names.len(), all.len());
    // The numbers of sessions begin anew after a restart, so the names of processes must not.
    let (before, after) = all.split_at(before);
    let processes = |lines: &[String]| -> BTreeSet<String> {
        let id = |line: &String| text(&json(line), "id").to_owned();
        let process = |id: String| id.split('-').next().map(str::to_owned);
        lines.iter().map(id).filter_map(process).collect()
    };
    let (old, new) = (processes(before), processes(after));
    assert!(!new.is_empty() && old.is_disjoint(&new), "{old:?} {new:?}");
}
