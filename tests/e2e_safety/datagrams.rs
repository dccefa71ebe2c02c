//! UDP and DNS: flows of one client, forged and unreadable messages, floods of queries.

use super::*;
use crate::support::wait::{BOUND, until, until_true, within_or_none};
use crate::support::{DnsServer, UdpServer, port};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

/// An UDP socket from an address of our own.
fn datagrams_from(from: Ipv4Addr, to: u16) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(local(to)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    socket
}

#[test]
fn one_client_cannot_have_all_flows() {
    let host = UdpServer::at("u", local(port()));
    let at = port();
    let config = format!(
        "udp protocol any {{ }}
relay any {{
	listen on 127.0.0.1 port {at}
	protocol any
	forward to 127.0.0.1 port {}
	session max per client 5
}}
",
        host.address().port()
    );
    let daemon = daemon_of(3, &config);
    let sockets: Vec<_> = (0..100)
        .map(|_| datagrams_from(Ipv4Addr::LOCALHOST, at))
        .collect();
    for socket in &sockets {
        socket.send(b"x").unwrap();
    }
    counted(&daemon, &["datagrams_dropped_total", "kind=\"full\""], 95.0);
    counted(
        &daemon,
        &["sessions_refused_total", "limit=\"client\""],
        95.0,
    );
    let other = datagrams_from(Ipv4Addr::new(127, 0, 0, 9), at);
    // Asks once: each packet counts.
    other.set_read_timeout(Some(BOUND)).unwrap();
    other.send(b"y").unwrap();
    let mut buffer = [0; 16];
    let count = other.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..count], *b"u:y");
    // Those of another process may come later.
    until_true("all that was let through", || host.packets() > 5);
    assert_eq!(host.packets(), 5 + 1);
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn dns_relay(at: u16, host: u16) -> String {
    format!(
        "dns protocol names {{ }}
relay names {{
	listen on 127.0.0.1 port {at}
	protocol names
	forward to 127.0.0.1 port {host}
}}
"
    )
}

#[test]
fn dns_messages_that_nobody_asked_for_or_nobody_can_read_are_dropped() {
    // A server that first gives forged answers, then the true one.
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let host = server.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        server.set_read_timeout(Some(BOUND)).unwrap();
        let mut query = [0; 512];
        let (count, relay) = server.recv_from(&mut query).unwrap();
        let mut answer = query[..count].to_vec();
        answer[2] |= 0x80;
        let mut forged = answer.clone();
        forged[0] ^= 0x55;
        server.send_to(&forged, relay).unwrap();
        let mut other = answer.clone();
        other[13] ^= 1;
        server.send_to(&other, relay).unwrap();
        server.send_to(&answer[..5], relay).unwrap();
        server.send_to(&answer, relay).unwrap();
        // Once more: it was answered already.
        server.send_to(&answer, relay).unwrap();
    });
    let at = port();
    let daemon = daemon(&dns_relay(at, host));
    let client = datagrams_from(Ipv4Addr::LOCALHOST, at);
    client.set_read_timeout(Some(BOUND)).unwrap();
    let good = question(77, "a.example");
    let mut answered = good.clone();
    answered[2] |= 0x80;
    let mut two = good.clone();
    two[5] = 2;
    for bad in [&good[..11], &good[..20], &answered, &two, &[0xff; 1400]] {
        client.send(bad).unwrap();
    }
    counted(
        &daemon,
        &["datagrams_dropped_total", "kind=\"malformed\""],
        5.0,
    );
    client.send(&good).unwrap();
    let mut buffer = [0; 512];
    let count = client.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..count], answered[..]);
    counted(
        &daemon,
        &["datagrams_dropped_total", "kind=\"malformed\""],
        6.0,
    );
    counted(
        &daemon,
        &["datagrams_dropped_total", "kind=\"unknown\""],
        3.0,
    );
    thread.join().unwrap();
}

#[test]
fn a_flood_of_queries_does_not_stop_later_ones() {
    let address = local(port());
    let silent = UdpSocket::bind(address).unwrap();
    let at = port();
    let daemon = daemon(&dns_relay(at, address.port()));
    let before = memory(&daemon);
    let flood = datagrams_from(Ipv4Addr::LOCALHOST, at);
    let query = question(1, "flood.example");
    // What the relay is too busy for the kernel drops, as with any flood: it may not have run during the first.
    let seen = (0..10).any(|_| {
        for _ in 0..30_000 {
            let _ = flood.send(&query);
        }
        let many = || (metric(&daemon, &["relay_sessions_total"]) >= 1000.0).then_some(());
        within_or_none(Duration::from_secs(3), many).is_some()
    });
    assert!(seen, "{}", metric(&daemon, &["relay_sessions_total"]));
    let grown = memory(&daemon).saturating_sub(before);
    eprintln!("flood of queries: {} KiB", grown / 1024);
    assert!(grown < 20 * 1024 * 1024, "{grown} bytes");
    drop(silent);
    let _server = DnsServer::at(address, Ipv4Addr::new(192, 0, 2, 7));
    let other = datagrams_from(Ipv4Addr::new(127, 0, 0, 9), at);
    let answer = until("another client is answered", || {
        other.send(&question(9, "a.example")).ok()?;
        let mut buffer = [0; 512];
        let count = other.recv(&mut buffer).ok()?;
        Some(buffer[..count].to_vec())
    });
    assert!(answer.ends_with(&[192, 0, 2, 7]));
}
