//! Where relays connect to, and what they tell the server: PROXY headers, destinations, failover, families.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use actors::link::{Message, Role, RunState, Slot, To};
use conf::model::{Check, Mode, ProtocolKind, ProxyVersion, RelayId, Target, Translate};
use protocols::proxy::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[actix::test]
async fn proxy_headers_pass_through_two_relays() {
    for (version, loopback) in [
        (ProxyVersion::V1, "127.0.0.1:0"),
        (ProxyVersion::V2, "127.0.0.1:0"),
        (ProxyVersion::V1, "[::1]:0"),
        (ProxyVersion::V2, "[::1]:0"),
    ] {
        let server = TcpListener::bind(loopback).await.unwrap();
        let log = Log::start();
        let (outer, outer_fd) = bind(loopback);
        let (inner, inner_fd) = bind(loopback);
        let mut b = Builder::new();
        b.config.globals.log.connection = true;
        let web = b.table("web", Check::None, &[server.local_addr().unwrap()]);
        let relays = b.table("relays", Check::None, &[inner]);
        let relay = b.relay("outer", outer, &[(relays, Mode::RoundRobin)]);
        relay.proxy_protocol = Some(version);
        let relay = b.relay("inner", inner, &[(web, Mode::RoundRobin)]);
        relay.listen.proxy = true;
        relay.proxy_protocol = Some(version);
        let fds = vec![
            (Slot::Relay(RelayId(1)), outer_fd),
            (Slot::Relay(RelayId(2)), inner_fd),
        ];
        let running = Running::start(0, &b.config, fds, RunState::default()).await;
        let mut client = TcpStream::connect(outer).await.unwrap();
        client.write_all(b"payload").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut socket, _) = within("the connection", server.accept()).await.unwrap();
        let mut got = Vec::new();
        within("the bytes", socket.read_to_end(&mut got))
            .await
            .unwrap();
        let expected = Read::Header {
            length: got.len() - 7,
            client: Some(client.local_addr().unwrap()),
        };
        assert_eq!(proxy::read(&got), Ok(expected));
        assert!(got.ends_with(b"payload"));
        drop(socket);
        log.until("relay inner, session").await;
        running.stop().await;
    }
}

#[actix::test]
async fn listeners_that_expect_a_proxy_header_close_without_one() {
    let server = echo("127.0.0.1:0").await;
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let web = b.table("web", Check::None, &[server]);
    b.relay("www", address, &[(web, Mode::RoundRobin)])
        .listen
        .proxy = true;
    let fds = vec![(Slot::Relay(RelayId(1)), fd)];
    let mut running = Running::start(0, &b.config, fds, RunState::default()).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = within("the end", client.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    // In pieces it is understood, and names the client.
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"PROXY TCP4 192.0.2.7 ").await.unwrap();
    let ends = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    within("the first piece", async {
        // The relay looks at it and lets it lie until the rest comes.
        while segments::progress(ends.0, ends.1) == Some(segments::Progress::Sent) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // One round of the event loop that both share: the relay has looked.
        tokio::time::sleep(Duration::from_millis(1)).await;
    })
    .await;
    client
        .write_all(b"198.51.100.1 1234 80\r\nhi")
        .await
        .unwrap();
    let mut got = [0; 2];
    within("echo", client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"hi");
    let sessions = running.sessions().await;
    assert_eq!(
        sessions[0].client,
        "192.0.2.7:1234".parse::<SocketAddr>().unwrap()
    );
    running.stop().await;
}

#[actix::test]
async fn nat_lookup_asks_the_packet_filter_engine_and_falls_back() {
    let log = Log::start();
    let found = Named::start("127.0.0.1:0", "found").await;
    let alternate = Named::start("127.0.0.1:0", "alternate").await;
    let (address, fd) = bind("127.0.0.1:0");
    let (alone, alone_fd) = bind("127.0.0.1:0");
    let (any, any_fd) = bind("0.0.0.0:0");
    let mut b = Builder::new();
    b.config.globals.log.connection_errors = true;
    let other = (alternate.address.ip().into(), alternate.address.port());
    b.relay("nat", address, &[]).target = Target::NatLookup(Some(other));
    b.relay("alone", alone, &[]).target = Target::NatLookup(None);
    // Nobody diverted the connection: its destination is the relay itself.
    b.relay("loop", any, &[]).target = Target::Destination(None);
    let fds = vec![
        (Slot::Relay(RelayId(1)), fd),
        (Slot::Relay(RelayId(2)), alone_fd),
        (Slot::Relay(RelayId(3)), any_fd),
    ];
    let mut running = Running::start(0, &b.config, fds, RunState::default()).await;
    for (relay, destination, answer) in [
        (address, Some(found.address), "found"),
        (address, None, "alternate"),
        // An answer that leads back to the relay is no answer.
        (address, Some(address), "alternate"),
        (alone, None, ""),
    ] {
        let client = actix::spawn(ask(relay));
        let message = running
            .receive(|to, m| to == To::All(Role::Pfe) && matches!(m, Message::NatLookup { .. }))
            .await;
        let Message::NatLookup { request, local, .. } = message else {
            panic!("{message:?}");
        };
        assert_eq!(local, relay);
        let result = Message::NatResult {
            request,
            destination,
        };
        running.send(PFE, result).await;
        assert_eq!(client.await.unwrap(), answer);
    }
    log.until("relay alone, session 4 (0 active), 0, 127.0.0.1 -> :0, session NAT lookup failed")
        .await;
    let any = SocketAddr::from(([127, 0, 0, 1], any.port()));
    assert_eq!(ask(any).await, "");
    log.until("relay loop, session 5 (0 active), 0, 127.0.0.1 -> :0, session aborted")
        .await;
    running.stop().await;
}

#[actix::test]
async fn targets_are_translated_between_families() {
    let six = Named::start("[::1]:0", "six").await;
    let port = six.address.port();
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let four = SocketAddr::from(([0, 0, 0, 1], port));
    let table = b.table("web", Check::None, &[four]);
    b.relay("www", address, &[(table, Mode::RoundRobin)])
        .translate = Some(Translate::Inet6("::".parse().unwrap()));
    let fds = vec![(Slot::Relay(RelayId(1)), fd)];
    let running = Running::start(0, &b.config, fds, RunState::default()).await;
    assert_eq!(ask(address).await, "six");
    running.stop().await;
}

#[actix::test]
async fn a_full_host_gets_no_more_connections() {
    let a = echo("127.0.0.1:0").await;
    let spare = Named::start("127.0.0.1:0", "spare").await;
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    b.config.globals.prefork = 1;
    let table = b.table("web", Check::None, &[a]);
    b.config.tables[0].hosts[0].max_connections = Some(2);
    let backup = b.table("backup", Check::None, &[spare.address]);
    b.relay(
        "www",
        address,
        &[(table, Mode::RoundRobin), (backup, Mode::RoundRobin)],
    );
    let fds = vec![(Slot::Relay(RelayId(1)), fd)];
    let mut running = Running::start(0, &b.config, fds, RunState::default()).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"x").await.unwrap();
        within("echo", client.read_exact(&mut [0])).await.unwrap();
        clients.push(client);
    }
    assert_eq!(ask(address).await, "spare");
    clients.pop();
    running.until_sessions(1).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"x").await.unwrap();
    within("echo", client.read_exact(&mut [0])).await.unwrap();
    running.stop().await;
}

#[actix::test]
async fn transparent_relays_connect_with_the_clients_address() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root for IP_TRANSPARENT");
        return;
    }
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    b.protocol("p", ProtocolKind::Tcp);
    let table = b.table("web", Check::None, &[server.local_addr().unwrap()]);
    b.relay("www", address, &[(table, Mode::RoundRobin)])
        .transparent = true;
    let fds = vec![(Slot::Relay(RelayId(1)), fd)];
    let running = Running::start(0, &b.config, fds, RunState::default()).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.7.7:0".parse().unwrap()).unwrap();
    let _client = socket.connect(address).await.unwrap();
    let (_socket, peer) = within("the connection", server.accept()).await.unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.7.7");
    running.stop().await;
}
