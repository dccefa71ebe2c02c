//! Connections of relays: when they are idle, who takes over when a host cannot be reached, what their sockets ask for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use support::client::{Echo, Http};
use support::servers::Speech;
use support::{Daemon, Server, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Globals every test here wants.
const GLOBALS: &str = "interval 1\ntimeout 500\nprefork 1\nlog connection\n";

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
    let settings = support::Settings {
        metrics: Some(port()),
        ..support::Settings::default()
    };
    let config = format!(
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
    );
    let daemon = Daemon::with(settings, &config);
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
    wait::until_true("the metrics", || {
        let text = daemon.metrics();
        let counted = |name: &str, label: &str| {
            let mut lines = text
                .lines()
                .filter(|l| l.starts_with(name) && l.contains(label));
            lines.any(|l| !l.ends_with(" 0"))
        };
        counted("relayd_relay_http_refused_total{", "kind=\"connect\"")
            && counted("relayd_relay_failovers_total{", "")
    });
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

/// Connections that anybody in the namespace has tried to open.
#[cfg(target_os = "linux")]
fn opened(netns: &support::Netns) -> usize {
    let text = netns.text("cat", &["/proc/net/snmp"]);
    let mut tcp = text.lines().filter(|line| line.starts_with("Tcp: "));
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both.find(|(name, _)| *name == "ActiveOpens").unwrap();
    value.parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_fails_is_repeated_as_often_as_retry_says() {
    needs_namespaces!();
    let netns = support::Netns::new("retry");
    let targets = [
        "forward to 127.0.0.1 port 9",
        "forward to 127.0.0.1 port 9 retry 3",
        "forward to <t> port 9",
    ];
    let mut config = format!("{GLOBALS}table <t> {{ 127.0.0.1 retry 2 }}\n");
    for (number, target) in targets.iter().enumerate() {
        let at = 1000 + number;
        config += &format!("relay r{number} {{\n	listen on 127.0.0.1 port {at}\n	{target}\n}}\n");
    }
    let settings = support::Settings {
        netns: Some(&netns),
        ..support::Settings::default()
    };
    let daemon = Daemon::with(settings, &config);
    daemon.wait_line("running relay r2");
    for (number, repeated) in [0, 3, 2].into_iter().enumerate() {
        let before = opened(&netns);
        netns.run(move || {
            let at = 1000 + u16::try_from(number).unwrap();
            assert!(Echo::connect(local(at)).is_err());
        });
        let line = daemon.wait_line(&format!("relay r{number}, session "));
        assert!(line.contains("Connection refused"), "{line}");
        // The client's own, the first, and those repeated.
        assert_eq!(opened(&netns) - before, 2 + repeated, "r{number}");
    }
}

/// The largest socket buffer that the namespace's system gives.
#[cfg(target_os = "linux")]
fn largest(netns: &support::Netns, direction: &str) -> usize {
    let file = format!("/proc/sys/net/core/{direction}mem_max");
    netns.text("cat", &[&file]).trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn sockets_have_the_queue_and_the_buffers_asked_for() {
    needs_namespaces!();
    const WANTED: usize = 5_000_000;
    let netns = support::Netns::new("tuned");
    let settings = support::Settings {
        netns: Some(&netns),
        ..support::Settings::default()
    };
    let daemon = Daemon::with(
        settings,
        &format!(
            "{GLOBALS}tcp protocol tuned {{ tcp {{ backlog 512, socket buffer {WANTED} }} }}
relay tuned {{ listen on 127.0.0.1 port 1000
	protocol tuned
	forward to 127.0.0.1 port 2000 }}
relay plain {{ listen on 127.0.0.1 port 1001
	forward to 127.0.0.1 port 2000 }}
"
        ),
    );
    daemon.wait_line("running relay plain");
    let sockets = |condition: &str| netns.text("ss", &["-Hatnm", "sport", condition]);
    // The kernel doubles what is asked for.
    let receive = format!(",rb{},", 2 * WANTED.min(largest(&netns, "r")));
    let send = format!(",tb{},", 2 * WANTED.min(largest(&netns, "w")));
    let (tuned, plain) = (sockets("= :1000"), sockets("= :1001"));
    assert!(tuned.contains(&receive) && tuned.contains(&send), "{tuned}");
    assert!(!plain.contains(&receive), "{plain}");
    let queue = tuned.split_whitespace().nth(2);
    // Never shorter than this, whatever an old file says.
    assert_eq!(queue, Some("1024"), "{tuned}");

    let (client, server) = netns.run(|| {
        let listener = TcpListener::bind(local(2000)).unwrap();
        let client = TcpStream::connect(local(1000)).unwrap();
        (client, listener.accept().unwrap().0)
    });
    // What it accepted, and what it opened.
    let [accepted, opened] = [client.peer_addr(), server.peer_addr()].map(|a| a.unwrap().port());
    for port in [accepted, opened] {
        let text = sockets(&format!("= :{port}"));
        let lines: Vec<_> = text.lines().collect();
        let at = lines.iter().position(|line| line.starts_with("ESTAB"));
        let memory = lines[at.expect(&text) + 1];
        assert!(
            memory.contains(&receive) && memory.contains(&send),
            "{text}"
        );
    }
}
