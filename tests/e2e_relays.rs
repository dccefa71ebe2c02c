//! Relays: bytes pass unchanged, hosts are chosen by mode, fallback tables serve, sessions end and are logged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
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

#[test]
fn a_session_is_not_idle_while_bytes_pass_in_one_direction() {
    let to = port();
    let listener = TcpListener::bind(local(to)).unwrap();
    let (with, without, mute) = (port(), port(), port());
    let relay = |name: &str, at: u16, option: &str| {
        format!(
            "relay {name} {{
	listen on 127.0.0.1 port {at}
	{option}
	session timeout 2
	forward to 127.0.0.1 port {to}
}}
"
        )
    };
    let daemon = Daemon::start(&format!(
        "{GLOBALS}tcp protocol plain {{ tcp no splice }}\n{}{}{}",
        relay("spliced", with, ""),
        relay("copied", without, "protocol plain"),
        relay("mute", mute, "")
    ));
    let connect = |at: u16| {
        let client = wait::until("a connection", || TcpStream::connect(local(at)).ok());
        let (server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(support::BOUND)).unwrap();
        }
        (client, server)
    };
    // Each way once: who sends, and who reads all that comes.
    let mut pairs: Vec<(TcpStream, TcpStream)> = Vec::new();
    for at in [with, without] {
        pairs.push(connect(at));
        let (client, server) = connect(at);
        pairs.push((server, client));
    }
    let (mut idle, _server) = connect(mute);
    let start = Instant::now();
    let mut silent = None;
    let mut byte = [0];
    // Until well after the time-out, and until the one that says nothing is gone.
    while start.elapsed() < Duration::from_secs(5) || silent.is_none() {
        for (from, to) in &mut pairs {
            from.write_all(b"x").unwrap();
            assert_eq!(
                to.read(&mut byte).unwrap(),
                1,
                "closed after {:?}",
                start.elapsed()
            );
        }
        idle.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        if silent.is_none() && idle.read(&mut byte).is_ok() {
            silent = Some(start.elapsed());
        }
        assert!(start.elapsed() < support::BOUND, "the idle session goes on");
        wait::step();
    }
    assert!(silent > Some(Duration::from_secs(1)), "{silent:?}");
    daemon.wait_line("buffer event timeout");
    drop(pairs);
    for name in ["spliced", "copied"] {
        let line = daemon.wait_line(&format!("relay {name}, session "));
        assert!(line.ends_with(", done"), "{line}");
    }
}

#[test]
fn another_host_takes_over_before_a_byte_is_lost() {
    let (servers, at, web) = (Server::row(Speech::Echo, &["one", "two"]), port(), port());
    let mut http = Server::row(Speech::Http, &["first", "second"]);
    // Nobody listens at the first address of either table, and no check says so.
    let mut echo = servers;
    echo[0].stop();
    http[0].stop();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}
table <t> {{ 127.0.0.1 127.0.0.2 }}
http protocol web {{ return error }}
relay plain {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {} mode roundrobin
}}
relay web {{
	listen on 127.0.0.1 port {web}
	protocol web
	forward to <t> port {} mode roundrobin
}}
",
        echo[1].port(),
        http[1].port()
    ));
    daemon.wait_line("running relay web");
    for _ in 0..6 {
        let mut client = Echo::connect(local(at)).unwrap();
        assert_eq!(client.name, "two");
        client.exchange(b"all of it").unwrap();
    }
    for _ in 0..6 {
        let mut client = Http::connect(local(web)).unwrap();
        client
            .send(b"POST /form HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
            .unwrap();
        let answer = client.answer("POST").unwrap();
        assert_eq!(
            (answer.status, answer.header("server")),
            (200, Some("second"))
        );
    }
    // When nobody is left, the client is told.
    http[1].stop();
    let answer = support::get(local(web), "/").unwrap();
    assert_eq!(answer.status, 500, "{}", answer.head);
    let line = daemon.wait_line("(500 Internal Server Error)");
    assert!(
        line.contains("relay web, session ") && line.contains("Connection refused"),
        "{line}"
    );
}

#[test]
fn hop_limits_are_set_and_asked_for_on_both_sides_and_follow_a_reload() {
    let server = Server::echo("one");
    let (strict, end, near, far) = (port(), port(), port(), port());
    let relay = |name: &str, at: u16, protocol: &str, to: u16| {
        format!(
            "relay {name} {{
	listen on 127.0.0.1 port {at}
	{protocol}
	session timeout 2
	forward to 127.0.0.1 port {to}
}}
"
        )
    };
    let relays = [
        relay("end", end, "protocol near", server.port()),
        relay("strict", strict, "protocol strict", end),
        relay("near", near, "protocol near", strict),
        relay("far", far, "", strict),
    ]
    .concat();
    let config = |option: &str| {
        format!(
            "{GLOBALS}tcp protocol strict {{ tcp {{ {option} }} }}
tcp protocol near {{ tcp {{ ip \"ttl\" 255 }} }}
{relays}"
        )
    };
    let daemon = Daemon::start(&config("nodelay, ip minttl 255"));
    daemon.wait_line("running relay far");
    // As far as it can tell, no router is between the strict relay and its neighbours on either side.
    let mut client = Echo::connect(local(near)).unwrap();
    client.exchange(b"near").unwrap();
    // The system's own hop limit is less.
    assert!(Echo::connect(local(far)).is_err());
    daemon.configure(&config("nodelay"));
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    let mut client = wait::until("a connection from afar", || Echo::connect(local(far)).ok());
    client.exchange(b"far").unwrap();
}
