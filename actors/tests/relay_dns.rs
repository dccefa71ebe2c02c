//! The dns protocol and the generic udp protocol of the relay role.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use actors::link::{RunState, Slot};
use conf::model::{Check, Mode, ProtocolId, ProtocolKind, RelayId};
use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use support::*;
use tokio::net::UdpSocket;

fn message(id: u16, answer: bool, name: &str) -> Vec<u8> {
    let mut m = id.to_be_bytes().to_vec();
    m.extend([if answer { 0x81 } else { 1 }, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        m.push(label.len() as u8);
        m.extend(label.as_bytes());
    }
    m.extend([0, 0, 1, 0, 1]);
    m
}

/// What a server saw of each query: id and source.
type Seen = Rc<RefCell<Vec<(u16, SocketAddr)>>>;

/// A name server that answers, but first tries three forgeries of its own answers.
async fn server() -> (SocketAddr, Seen) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let liar = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let seen: Seen = Rc::default();
    let list = Rc::clone(&seen);
    actix::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
            let mut answer = buffer[..n].to_vec();
            let id = u16::from_be_bytes([answer[0], answer[1]]);
            list.borrow_mut().push((id, from));
            answer[2] |= 0x80;
            let mut forged = answer.clone();
            forged[1] ^= 1;
            // Wrong id, wrong question, wrong source.
            let _ = socket.send_to(&forged, from).await;
            let _ = socket
                .send_to(&message(id, true, "evil.example"), from)
                .await;
            let _ = liar.send_to(&answer, from).await;
            let _ = socket.send_to(&answer, from).await;
        }
    });
    (address, seen)
}

#[actix::test]
async fn dns_answers_return_to_their_clients_under_their_ids() {
    let log = Log::start();
    let (server, seen) = server().await;
    let (address, fd) = bind_udp("127.0.0.1:0");
    let mut b = Builder::new();
    b.config.globals.log.connection = true;
    b.protocol("dnsfilter", ProtocolKind::Dns);
    let table = b.table("dns", Check::None, &[server]);
    b.relay("dnsproxy", address, &[(table, Mode::LoadBalance)])
        .protocol = ProtocolId(1);
    let fds = vec![(Slot::Relay(RelayId(1)), fd)];
    let running = Running::start(0, &b.config, fds, RunState::default()).await;
    log.until("relay_launch: running relay dnsproxy").await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(address).await.unwrap();
        clients.push(client);
    }
    let mut buffer = [0; 2048];
    for round in 0..40_u16 {
        // Both clients use the same ids at the same time.
        for (i, client) in clients.iter().enumerate() {
            let query = message(round, false, &format!("n{round}.c{i}.example"));
            client.send(&query).await.unwrap();
        }
        for (i, client) in clients.iter().enumerate() {
            let n = within("an answer", client.recv(&mut buffer)).await.unwrap();
            let expected = message(round, true, &format!("n{round}.c{i}.example"));
            assert_eq!(&buffer[..n], expected);
        }
    }
    // Nothing else arrived: forgeries were dropped.
    for client in &clients {
        assert!(client.try_recv(&mut buffer).is_err());
    }
    let seen = seen.borrow().clone();
    assert_eq!(seen.len(), 80);
    let ports: HashSet<_> = seen.iter().map(|(_, from)| from.port()).collect();
    assert!(ports.len() > 5, "{} ports", ports.len());
    let same = seen
        .iter()
        .enumerate()
        .filter(|(i, (id, _))| usize::from(*id) == i / 2)
        .count();
    assert!(same < 5, "ids are shuffled");
    let line = log.until("relay dnsproxy, session 1 (0 active)").await;
    assert_eq!(
        line,
        format!(
            "INFO relay dnsproxy, session 1 (0 active), 0, 127.0.0.1 -> 127.0.0.1:{}, session closed",
            server.port()
        )
    );
    running.stop().await;
}

#[actix::test]
async fn garbage_is_dropped_and_unanswered_queries_time_out() {
    let log = Log::start();
    // A server that never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (address, fd) = bind_udp("127.0.0.1:0");
    let mut b = Builder::new();
    b.config.globals.log.connection_errors = true;
    b.protocol("dnsfilter", ProtocolKind::Dns);
    let table = b.table("dns", Check::None, &[silent.local_addr().unwrap()]);
    let relay = b.relay("dnsproxy", address, &[(table, Mode::RoundRobin)]);
    relay.protocol = ProtocolId(1);
    relay.session_timeout = Duration::from_secs(1);
    let fds = vec![(Slot::Relay(RelayId(1)), fd)];
    let running = Running::start(0, &b.config, fds, RunState::default()).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    client.send(b"garbage").await.unwrap();
    client.send(&message(1, true, "an.answer")).await.unwrap();
    client
        .send(&message(2, false, "good.example"))
        .await
        .unwrap();
    let mut buffer = [0; 2048];
    let n = within("the query", silent.recv(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[2..n], &message(2, false, "good.example")[2..]);
    assert!(
        silent.try_recv(&mut buffer).is_err(),
        "only one was passed on"
    );
    let line = log.until("udp timeout").await;
    assert!(
        line.starts_with("WARN relay dnsproxy, session 3 (0 active)"),
        "{line}"
    );
    running.stop().await;
}

#[actix::test]
async fn a_udp_relay_moves_a_client_when_its_host_refuses() {
    let good = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let good_address = good.local_addr().unwrap();
    actix::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((n, client)) = good.recv_from(&mut buffer).await {
            let _ = good.send_to(&buffer[..n], client).await;
        }
    });
    let bad = SocketAddr::from(([127, 0, 0, 3], good_address.port()));
    let (address, fd) = bind_udp("127.0.0.1:0");
    let mut b = Builder::new();
    b.protocol("games", ProtocolKind::Udp);
    let table = b.table("games", Check::None, &[bad, good_address]);
    b.relay("games", address, &[(table, Mode::RoundRobin)])
        .protocol = ProtocolId(1);
    let fds = vec![(Slot::Relay(RelayId(1)), fd)];
    let running = Running::start(0, &b.config, fds, RunState::default()).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    let mut buffer = [0; 2048];
    let mut answered = false;
    for _ in 0..50 {
        client.send(b"hello").await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(200), client.recv(&mut buffer));
        if let Ok(n) = answer.await {
            assert_eq!(&buffer[..n.unwrap()], b"hello");
            answered = true;
            break;
        }
    }
    assert!(answered);
    running.stop().await;
}

#[actix::test]
async fn answers_come_from_the_address_that_was_asked() {
    for (any, asked) in [("0.0.0.0:0", "127.0.0.9"), ("[::]:0", "::1")] {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server_address = server.local_addr().unwrap();
        actix::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((n, client)) = server.recv_from(&mut buffer).await {
                let _ = server.send_to(&buffer[..n], client).await;
            }
        });
        let (address, fd) = bind_udp(any);
        let mut b = Builder::new();
        b.protocol("games", ProtocolKind::Udp);
        let table = b.table("games", Check::None, &[server_address]);
        b.relay("games", address, &[(table, Mode::RoundRobin)])
            .protocol = ProtocolId(1);
        let fds = vec![(Slot::Relay(RelayId(1)), fd)];
        let running = Running::start(0, &b.config, fds, RunState::default()).await;
        let client = UdpSocket::bind(any).await.unwrap();
        let asked = SocketAddr::new(asked.parse().unwrap(), address.port());
        let mut buffer = [0; 2048];
        client.send_to(b"hello", asked).await.unwrap();
        let (n, from) = within("an answer", client.recv_from(&mut buffer))
            .await
            .unwrap();
        assert_eq!((&buffer[..n], from), (&b"hello"[..], asked));
        running.stop().await;
    }
}
