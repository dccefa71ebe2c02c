//! Access logs of the real daemon: forms, targets, rotation, what is lost and what never waits, and equal names everywhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use support::client::{Echo, Http, datagram};
use support::daemon::Settings;
use support::{BOUND, Daemon, DnsServer, Scratch, Server, UdpServer, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Globals every test here wants.
const GLOBALS: &str = "interval 1\ntimeout 500\nlog connection\n";

/// A relay that speaks HTTP with an access log.
fn http_relay(at: u16, server: u16, log: &str) -> String {
    format!(
        "table <t> {{ 127.0.0.1 }}
http protocol web {{
	return error
	match request header set \"X-Request-Id\" value \"$REQUEST_ID\"
	match request path \"/tagged\" tag \"blue\"
	block request path \"/blocked\"
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	{log}
	forward to <t> port {server} check tcp
}}
"
    )
}

/// The lines of a file so far.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8(text).expect("ASCII");
    assert!(text.is_empty() || text.ends_with('\n') || !text.contains('\n'));
    text.lines().map(str::to_owned).collect()
}

/// Waits for `count` lines.
fn wait_lines(path: &Path, count: usize) -> Vec<String> {
    wait::until(&format!("{count} lines in {}", path.display()), || {
        let all = lines(path);
        (all.len() >= count).then_some(all)
    })
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
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
        line.contains("server=- ") && line.contains("reason=\"Forbidden"),
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
    wait_lines(&file, 20);
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
    let processes: BTreeSet<&str> = names.iter().filter_map(|n| n.split('-').next()).collect();
    assert!(processes.len() >= 2, "{processes:?}");
}

#[test]
fn a_rotated_file_is_opened_again_on_the_signal_and_on_reload() {
    let (server, scratch, at) = (Server::http("one"), Scratch::new(), port());
    let file = scratch.path("access.log");
    let log = format!("log access to file \"{}\"", file.display());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}prefork 1\n{}",
        http_relay(at, server.port(), &log)
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    let mut client = Http::connect(local(at)).unwrap();
    client.ask("GET", "/first", &[]).unwrap();
    wait_lines(&file, 1);
    std::fs::rename(&file, scratch.path("access.log.1")).unwrap();
    daemon.signal(Signal::SIGUSR1);
    wait::until_true("the file is there again", || file.exists());
    client.ask("GET", "/second", &[]).unwrap();
    wait::until_true("a line in the new file", || {
        client.ask("GET", "/second", &[]).unwrap();
        lines(&file).iter().any(|l| l.contains("/second"))
    });
    assert!(!lines(&file).iter().any(|l| l.contains("/first")));
    std::fs::rename(&file, scratch.path("access.log.2")).unwrap();
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    wait::until_true("a line after the reload", || {
        client.ask("GET", "/third", &[]).unwrap();
        lines(&file).iter().any(|l| l.contains("/third"))
    });
    let old = lines(&scratch.path("access.log.1"));
    assert!(old[0].contains("/first"), "{old:#?}");
}

/// The next datagram on a socket.
fn next(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).expect("a datagram");
    buffer.truncate(length);
    String::from_utf8(buffer).unwrap()
}

#[test]
fn syslog_and_journald_get_their_own_forms_and_may_be_restarted() {
    let (server, echo, scratch) = (Server::http("one"), Server::echo("echo"), Scratch::new());
    let (at, tcp) = (port(), port());
    let (syslog, journal) = (scratch.path("log"), scratch.path("journal"));
    let first = UnixDatagram::bind(&syslog).unwrap();
    let journald = UnixDatagram::bind(&journal).unwrap();
    let settings = Settings {
        arguments: &[
            "--syslog-socket",
            syslog.to_str().unwrap(),
            "--journal-socket",
            journal.to_str().unwrap(),
        ],
        ..Settings::default()
    };
    let config = format!(
        "{GLOBALS}prefork 1\n{}
relay plain {{
	listen on 127.0.0.1 port {tcp}
	log access to syslog
	forward to 127.0.0.1 port {}
}}
",
        http_relay(at, server.port(), "log access to journald"),
        echo.port()
    );
    let daemon = Daemon::with(settings, &config);
    daemon.wait_status("host", "127.0.0.1", "up");
    drop(Echo::connect(local(tcp)).unwrap());
    let line = next(&first);
    let pid = daemon.role("socket relay engine")[0].pid;
    assert!(
        line.starts_with(&format!("<30>relayd[{pid}]: 127.0.0.1 - - [")),
        "{line}"
    );
    assert!(
        line.contains(" relay=\"plain\" ") && !line.contains('\n'),
        "{line}"
    );
    support::client::get(local(at), "/x").unwrap();
    let entry = next(&journald);
    assert!(entry.starts_with("MESSAGE=127.0.0.1 - - ["), "{entry}");
    for field in [
        "PRIORITY=6",
        "SYSLOG_IDENTIFIER=relayd",
        "RELAYD_STATUS=200",
    ] {
        assert!(entry.lines().any(|l| l == field), "{field}: {entry}");
    }
    assert!(entry.contains("\nRELAYD_REQUEST="), "{entry}");
    // syslogd is started again: its socket is another one.
    drop(first);
    std::fs::remove_file(&syslog).unwrap();
    drop(Echo::connect(local(tcp)).unwrap());
    let second = UnixDatagram::bind(&syslog).unwrap();
    drop(Echo::connect(local(tcp)).unwrap());
    assert!(next(&second).contains(" relay=\"plain\" "));
    assert!(next(&second).contains(" relay=\"plain\" "));
}

/// A value of the metrics page.
fn metric(daemon: &Daemon, name: &str) -> u64 {
    let text = daemon.metrics();
    let values = text.lines().filter(|l| l.starts_with(&format!("{name}{{")));
    let last = values.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok());
    last.sum::<f64>() as u64
}

#[test]
fn a_blocked_or_full_target_loses_lines_and_delays_nobody() {
    let (server, echo, scratch) = (Server::http("one"), Server::echo("echo"), Scratch::new());
    let (at, full, metrics) = (port(), port(), port());
    let pipe = scratch.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let log = format!("log access json with query to file \"{}\"", pipe.display());
    let daemon = Daemon::with(
        Settings {
            metrics: Some(metrics),
            ..Settings::default()
        },
        &format!(
            "{GLOBALS}prefork 1\n{}
relay full {{
	listen on 127.0.0.1 port {full}
	log access to file \"/dev/full\"
	forward to 127.0.0.1 port {}
}}
",
            http_relay(at, server.port(), &log),
            echo.port()
        ),
    );
    daemon.wait_status("host", "127.0.0.1", "up");
    drop(Echo::connect(local(full)).unwrap());
    daemon.wait_line("access log /dev/full: lines are lost: No space left on device");
    // Nobody reads the pipe: it and the buffer behind it fill up, and each request is answered all the same.
    let mut client = Http::connect(local(at)).unwrap();
    let path = format!("/long?{}", "x".repeat(900));
    let agent = format!("User-Agent: {}", "y".repeat(900));
    for _ in 0..1200 {
        assert_eq!(client.ask("GET", &path, &[&agent]).unwrap().status, 200);
    }
    daemon.wait_line(&format!("access log {}: lines are lost: ", pipe.display()));
    wait::until_true("the metric", || {
        metric(&daemon, "relayd_access_log_lost_lines_total") > 100
    });
    // A reader comes: what waited is whole lines, and new ones follow.
    let mut reader = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(&pipe)
        .unwrap();
    let mut bytes = Vec::new();
    wait::until_true("a new line in the pipe", || {
        client.ask("GET", "/last", &[]).unwrap();
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        let ended = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let text = String::from_utf8_lossy(&bytes[..ended]).into_owned();
        text.lines().any(|l| json(l)["http"]["target"] == "/last")
    });
}
