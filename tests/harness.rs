//! The harness itself: servers and clients of the end-to-end tests do what tests rely on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use support::client::{Echo, Http, datagram, who};
use support::servers::Speech;
use support::{DnsServer, Netns, Server, UdpServer, get, port, until};

#[test]
fn an_http_server_stops_and_returns_on_its_port() {
    let mut server = Server::http("one");
    assert_eq!(who(server.address()).as_deref(), Some("one"));
    let mut kept = Http::connect(server.address()).unwrap();
    assert_eq!(kept.ask("GET", "/a", &[]).unwrap().body, "GET /a\n");
    assert_eq!(kept.ask("GET", "/chunked", &[]).unwrap().body, "one, two");
    server.stop();
    assert!(kept.closed());
    assert!(get(server.address(), "/").is_err());
    server.start();
    assert_eq!(who(server.address()).as_deref(), Some("one"));
    server.answer(503);
    assert_eq!(get(server.address(), "/").unwrap().status, 503);
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_hung_server_accepts_and_says_nothing() {
    let server = Server::http("hung");
    server.hang(true);
    let mut client = Http::connect(server.address()).unwrap();
    client.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let before = server.requests().len();
    support::wait::holds(Duration::from_millis(200), "silent", || {
        server.requests().len() == before
    });
    server.hang(false);
    assert_eq!(client.answer("GET").unwrap().body, "hung\n");
}

#[test]
fn datagrams_and_names_are_answered() {
    let server = UdpServer::at("u", (Ipv4Addr::LOCALHOST, port()).into());
    let second = Duration::from_secs(1);
    assert_eq!(datagram(server.address(), b"x", second).unwrap(), b"u:x");
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port()));
    let dns = DnsServer::at(at, Ipv4Addr::new(192, 0, 2, 7));
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    let answer = datagram(dns.address(), query, second).unwrap();
    assert_eq!(answer[..2], query[..2]);
    assert!(answer.ends_with(&[192, 0, 2, 7]));
    assert_eq!(dns.queries(), 1);
}

#[test]
fn namespaces_are_joined_and_removed() {
    needs_namespaces!();
    let (left, right) = (Netns::new("left"), Netns::new("right"));
    Netns::join(
        (&left, "eth0", &["192.0.2.1/24", "2001:db8::1/64"]),
        (&right, "eth0", &["192.0.2.2/24", "2001:db8::2/64"]),
    );
    for at in ["192.0.2.2:80", "[2001:db8::2]:80"] {
        let at: SocketAddr = at.parse().unwrap();
        let mut server = Server::inside(&right, "far", Speech::Echo, at);
        server.stop();
        server.start();
        let name = left.run(move || {
            let mut client = until("connect", || Echo::connect(at).ok());
            client.exchange(b"hello").unwrap();
            client.bulk(1_000_000).unwrap();
            client.name
        });
        assert_eq!(name, "far");
    }
    let path = std::path::PathBuf::from(format!("/run/netns/{}", left.name()));
    assert!(path.exists());
    drop(left);
    assert!(!path.exists());
}
