//! TCP, UDP and DNS relays with the real daemon: ends of directions, bounded memory, PROXY headers, dig.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;
use support::client::run;
use support::{BOUND, Daemon, DnsServer, UdpServer, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

const GLOBALS: &str = "interval 1\ntimeout 500\nprefork 1\nlog connection\n";

fn connect(at: u16) -> TcpStream {
    let stream = wait::until("a connection", || TcpStream::connect(local(at)).ok());
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    stream
}

/// A server whose connections are handed to the test.
fn server() -> (u16, mpsc::Receiver<TcpStream>) {
    let at = port();
    let listener = TcpListener::bind(local(at)).unwrap();
    let (sender, accepted) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(BOUND));
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    (at, accepted)
}

fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A relay without checks to a fixed address; `words` end its `forward` line.
fn relay(name: &str, at: u16, listen: &str, to: u16, words: &str) -> String {
    format!(
        "relay {name} {{\n	listen on 127.0.0.1 port {at} {listen}\n	forward to 127.0.0.1 port {to} {words}\n}}\n"
    )
}

#[test]
fn each_direction_ends_by_itself() {
    let ((to, accepted), at) = (server(), port());
    let daemon = Daemon::start(&format!("{GLOBALS}{}", relay("www", at, "", to, "")));
    // The client is done first, the server answers then.
    let mut client = connect(at);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut server = accepted.recv_timeout(BOUND).unwrap();
    assert_eq!(rest(&mut server), "question");
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(rest(&mut client), "answer");
    // The other way round.
    let mut client = connect(at);
    let mut server = accepted.recv_timeout(BOUND).unwrap();
    server.write_all(b"greeting").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), "greeting");
    client.write_all(b"and still heard").unwrap();
    drop(client);
    assert_eq!(rest(&mut server), "and still heard");
    for session in [1, 2] {
        let line = daemon.wait_line(&format!("relay www, session {session} ("));
        assert!(line.ends_with(", done"), "{line}");
    }
}

/// Resident memory of a process in KiB; `None` where the system does not say.
fn resident(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Sends without end until nothing has been taken for a while; answers how much was.
fn stuff(stream: &mut TcpStream) -> usize {
    let block = vec![7; 65_536];
    let mut sent = 0;
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while sent < (256 << 20) {
        match stream.write(&block) {
            Ok(count) => sent += count,
            Err(_) => return sent,
        }
    }
    sent
}

#[test]
fn a_peer_that_never_reads_costs_bounded_memory_and_others_are_served() {
    let ((to, accepted), with, without) = (server(), port(), port());
    let daemon = Daemon::start(&format!(
        "{GLOBALS}tcp protocol plain {{ tcp no splice }}\n{}{}",
        relay("spliced", with, "", to, ""),
        relay("copied", without, "", to, "").replace("listen", "protocol plain\n	listen")
    ));
    let pid = daemon.role("socket relay engine")[0].pid;
    drop((connect(with), accepted.recv_timeout(BOUND).unwrap()));
    let before = resident(pid);
    let mut held = Vec::new();
    for at in [with, without, with, without] {
        let mut client = connect(at);
        let mut server = accepted.recv_timeout(BOUND).unwrap();
        // One side sends and the other never reads, each way once.
        let sent = if held.len() % 4 < 2 {
            stuff(&mut client)
        } else {
            stuff(&mut server)
        };
        assert!(sent < 128 << 20, "{sent} bytes were taken in");
        held.push(client);
        held.push(server);
    }
    if let (Some(before), Some(now)) = (before, resident(pid)) {
        assert!(now < before + 8 * 1024, "{before} KiB became {now} KiB");
    }
    let mut client = connect(with);
    let mut server = accepted.recv_timeout(BOUND).unwrap();
    client.write_all(b"served").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut server), "served");
}

#[test]
fn proxy_headers_go_out_and_come_in() {
    let ((to, accepted), v1, v2, inward) = (server(), port(), port(), port());
    let web = port();
    let http = relay("web", web, "", to, "proxy-protocol v1")
        .replace("listen", "protocol speaks\n	listen");
    let daemon = Daemon::start(&format!(
        "{GLOBALS}http protocol speaks {{ }}\n{http}{}{}{}",
        relay("text", v1, "", to, "proxy-protocol v1"),
        relay("bytes", v2, "", to, "proxy-protocol v2"),
        relay("inward", inward, "proxy-protocol", to, "proxy-protocol v1"),
    ));
    let passed = |at: u16, first: &[u8]| {
        let mut client = connect(at);
        let address = client.local_addr().unwrap();
        client.write_all(first).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut server = accepted.recv_timeout(BOUND).unwrap();
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).unwrap();
        (address.port(), bytes)
    };
    let (from, bytes) = passed(v1, b"one");
    let wanted = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {v1}\r\none");
    assert_eq!(String::from_utf8_lossy(&bytes), wanted);
    let (from, bytes) = passed(v2, b"two");
    let mut wanted = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    wanted.extend(from.to_be_bytes());
    wanted.extend(v2.to_be_bytes());
    wanted.extend(b"two");
    assert_eq!(bytes, wanted);
    // A header that came in names the client from then on.
    let wanted = format!("PROXY TCP4 192.0.2.7 127.0.0.1 4711 {inward}\r\nthree");
    let (_, bytes) = passed(inward, b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nthree");
    assert_eq!(String::from_utf8_lossy(&bytes), wanted);
    daemon.wait_line(", 192.0.2.7 -> ");
    let mut header =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc0\0\x02\x01\x12\x67\0\x50".to_vec();
    header.extend(b"four");
    let (_, bytes) = passed(inward, &header);
    let wanted = format!("PROXY TCP4 192.0.2.8 127.0.0.1 4711 {inward}\r\nfour");
    assert_eq!(String::from_utf8_lossy(&bytes), wanted);
    // HTTP relays say it before the first request of each server connection.
    let mut client = connect(web);
    let from = client.local_addr().unwrap().port();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut server = accepted.recv_timeout(BOUND).unwrap();
    let wanted =
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {web}\r\nGET / HTTP/1.1\r\nHost: h\r\n");
    let mut bytes = vec![0; wanted.len()];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), wanted);
    server
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .unwrap();
    assert!(rest(&mut client).starts_with("HTTP/1.1 204 "));
    // Without one there is no session, and the server hears nothing.
    let mut client = connect(inward);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    assert!(accepted.try_recv().is_err());
}

#[test]
fn dig_gets_its_answers_and_udp_clients_keep_their_host() {
    let (dns, udp) = (port(), port());
    let (names, flows) = (port(), port());
    let servers: Vec<DnsServer> = (1u8..=2)
        .map(|n| {
            DnsServer::at(
                (Ipv4Addr::new(127, 0, 0, n), names).into(),
                Ipv4Addr::new(10, 9, 8, n),
            )
        })
        .collect();
    let echoes: Vec<UdpServer> = [("one", 1u8), ("two", 2)]
        .map(|(name, n)| UdpServer::at(name, (Ipv4Addr::new(127, 0, 0, n), flows).into()))
        .into();
    let daemon = Daemon::start(&format!(
        "{GLOBALS}
table <dns> {{ 127.0.0.1 127.0.0.2 }}
table <udp> {{ 127.0.0.1 127.0.0.2 }}
dns protocol names {{ }}
udp protocol any {{ }}
relay names {{
	listen on 127.0.0.1 port {dns}
	protocol names
	forward to <dns> port {names} mode roundrobin
}}
relay flows {{
	listen on 127.0.0.1 port {udp}
	protocol any
	forward to <udp> port {flows} mode roundrobin
}}
"
    ));
    wait::until_true("the relays serve", || {
        daemon
            .lines()
            .iter()
            .any(|l| l.contains("running relay flows"))
    });
    if Command::new("dig").arg("-v").output().is_err() {
        return support::skip("dig is not installed");
    }
    let dig = |name: &str| {
        let mut command = Command::new("dig");
        command.args([
            "@127.0.0.1",
            "-p",
            &dns.to_string(),
            "+short",
            "+tries=3",
            "+time=5",
            name,
            "A",
        ]);
        run(&mut command).stdout.trim().to_owned()
    };
    let answers: Vec<String> = (0..4)
        .map(|n| dig(&format!("host{n}.example.org")))
        .collect();
    for wanted in ["10.9.8.1", "10.9.8.2"] {
        assert_eq!(
            answers.iter().filter(|a| *a == wanted).count(),
            2,
            "{answers:?}"
        );
    }
    assert!(servers.iter().all(|s| s.queries() == 2));
    daemon.wait_line("relay names, session 4 (0 active), 0, 127.0.0.1 -> 127.0.0.");
    let clients: Vec<UdpSocket> = (0..4)
        .map(|_| {
            let socket = UdpSocket::bind(local(0)).unwrap();
            socket.set_read_timeout(Some(BOUND)).unwrap();
            socket.connect(local(udp)).unwrap();
            socket
        })
        .collect();
    let mut hosts = Vec::new();
    for round in 0..3 {
        for (number, client) in clients.iter().enumerate() {
            client.send(b"ping").unwrap();
            let mut buffer = [0; 64];
            let count = client.recv(&mut buffer).unwrap();
            let answer = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let host = answer.strip_suffix(":ping").expect("an echo").to_owned();
            if round == 0 {
                hosts.push(host);
            } else {
                assert_eq!(hosts[number], host);
            }
        }
    }
    assert!(echoes.iter().all(|e| e.packets() == 6));
}
