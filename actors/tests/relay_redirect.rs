//! Redirects served in user space by the relay role.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use actors::link::{Message, RunState, Slot};
use backends::filter::{ServerState, Service, Traffic};
use conf::Config;
use conf::model::{Check, HashKey, Mode, RedirectId};
use std::collections::HashSet;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

fn service(config: &Config, states: &[ServerState]) -> Service {
    let mut service = Service::new(config, &config.redirects[0], HashKey([1; 16]));
    service.active = states.contains(&ServerState::Up);
    for (server, state) in service.servers.iter_mut().zip(states) {
        server.state = *state;
    }
    service
}

async fn publish(running: &mut Running, service: Service) {
    let services = vec![service];
    running.send(PFE, Message::Forwarding { services }).await;
    // The answer comes after the change.
    running.sessions().await;
}

#[actix::test]
async fn tcp_follows_the_published_state() {
    use ServerState::{Down, Drain, Up};
    let a = Named::start("127.0.0.1:0", "a").await;
    let port = a.address.port();
    let b_host = Named::start(&format!("127.0.0.2:{port}"), "b").await;
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let table = b.table("web", Check::None, &[a.address, b_host.address]);
    b.redirect("www", address, 6, table, Mode::RoundRobin);
    let slot = Slot::Redirect(RedirectId(1), 0, address.port());
    let mut running = Running::start(0, &b.config, vec![(slot, fd)], RunState::default()).await;
    running.sessions().await;
    // Nothing is published yet: as if nobody listened.
    assert_eq!(ask(address).await, "");
    publish(&mut running, service(&b.config, &[Up, Up])).await;
    assert_eq!(
        [ask(address).await, ask(address).await, ask(address).await],
        ["a", "b", "a"]
    );
    publish(&mut running, service(&b.config, &[Drain, Up])).await;
    assert_eq!([ask(address).await, ask(address).await], ["b", "b"]);
    publish(&mut running, service(&b.config, &[Down, Down])).await;
    assert_eq!(ask(address).await, "");
    let mut counts = [0; 2];
    while counts.iter().sum::<u64>() < 5 {
        let message = running
            .receive(|_, m| matches!(m, Message::ForwardingStatistics { .. }))
            .await;
        if let Message::ForwardingStatistics { forwarded } = message {
            for new in forwarded {
                assert_eq!(new.id, RedirectId(1));
                counts[new.host.0 as usize - 1] += new.sessions;
                assert_eq!(new.traffic, Traffic::default(), "not asked for");
            }
        }
    }
    assert_eq!(counts, [2, 3]);
    assert!(
        running.sessions().await.is_empty(),
        "redirects have no sessions to show"
    );
    running.stop().await;
}

#[actix::test]
async fn draining_keeps_a_session_and_going_down_ends_it() {
    use ServerState::{Down, Drain, Up};
    let server = echo("127.0.0.1:0").await;
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let table = b.table("web", Check::None, &[server]);
    b.redirect("www", address, 6, table, Mode::RoundRobin);
    let slot = Slot::Redirect(RedirectId(1), 0, address.port());
    // A restarted process learns the state with its configuration.
    let state = RunState {
        forwarding: vec![service(&b.config, &[Up])],
        ..RunState::default()
    };
    let mut running = Running::start(0, &b.config, vec![(slot, fd)], state).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    client.write_all(b"1").await.unwrap();
    within("echo", client.read_exact(&mut byte)).await.unwrap();
    publish(&mut running, service(&b.config, &[Drain])).await;
    client.write_all(b"2").await.unwrap();
    within("echo", client.read_exact(&mut byte)).await.unwrap();
    assert_eq!(&byte, b"2");
    publish(&mut running, service(&b.config, &[Down])).await;
    let end = within("the end", client.read(&mut byte)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    running.stop().await;
}

#[actix::test]
async fn sticky_clients_keep_their_host() {
    use ServerState::Up;
    let a = Named::start("127.0.0.1:0", "a").await;
    let port = a.address.port();
    let b_host = Named::start(&format!("127.0.0.2:{port}"), "b").await;
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let table = b.table("web", Check::None, &[a.address, b_host.address]);
    b.redirect("www", address, 6, table, Mode::RoundRobin)
        .sticky = true;
    let slot = Slot::Redirect(RedirectId(1), 0, address.port());
    let mut running = Running::start(0, &b.config, vec![(slot, fd)], RunState::default()).await;
    publish(&mut running, service(&b.config, &[Up, Up])).await;
    let mut hosts = HashSet::new();
    for client in 1..=20_u8 {
        let mut answers = HashSet::new();
        for _ in 0..3 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 1, client], 0).into()).unwrap();
            let mut socket = within("connect", socket.connect(address)).await.unwrap();
            let mut answer = String::new();
            let _ = within("answer", socket.read_to_string(&mut answer)).await;
            answers.insert(answer);
        }
        assert_eq!(answers.len(), 1, "client {client}: {answers:?}");
        hosts.extend(answers);
    }
    assert_eq!(hosts.len(), 2, "clients are spread");
    running.stop().await;
}

/// A UDP server that answers each datagram with its name.
async fn udp_named(address: &str, name: &'static str) -> std::net::SocketAddr {
    let socket = UdpSocket::bind(address).await.unwrap();
    let address = socket.local_addr().unwrap();
    actix::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((_, client)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(name.as_bytes(), client).await;
        }
    });
    address
}

async fn udp_ask(socket: &UdpSocket, server: std::net::SocketAddr) -> String {
    let mut buffer = [0; 2048];
    for _ in 0..50 {
        socket.send_to(b"?", server).await.unwrap();
        let answer = socket.recv_from(&mut buffer);
        if let Ok(got) = tokio::time::timeout(Duration::from_millis(300), answer).await {
            let (n, from) = got.unwrap();
            assert_eq!(from, server, "the answer comes from where the client asked");
            return String::from_utf8_lossy(&buffer[..n]).into_owned();
        }
    }
    panic!("no answer from {server}");
}

#[actix::test]
async fn udp_flows_stay_with_a_host_until_it_is_down() {
    use ServerState::{Down, Up};
    for loopback in ["127.0.0.1", "[::1]"] {
        let a = udp_named(&format!("{loopback}:0"), "a").await;
        let (address, fd) = bind_udp(&format!("{loopback}:0"));
        let mut b = Builder::new();
        let other = match loopback {
            "127.0.0.1" => format!("127.0.0.2:{}", a.port()),
            // One loopback address only: the second host refuses.
            _ => format!("[::1]:{}", a.port()),
        };
        let other = match loopback {
            "127.0.0.1" => udp_named(&other, "b").await,
            _ => a,
        };
        let table = b.table("dns", Check::None, &[a, other]);
        b.redirect("udp", address, 17, table, Mode::RoundRobin);
        let slot = Slot::Redirect(RedirectId(1), 0, address.port());
        let mut running = Running::start(0, &b.config, vec![(slot, fd)], RunState::default()).await;
        publish(&mut running, service(&b.config, &[Up, Up])).await;
        let bind = format!("{loopback}:0");
        let one = UdpSocket::bind(&bind).await.unwrap();
        let two = UdpSocket::bind(&bind).await.unwrap();
        let first = udp_ask(&one, address).await;
        assert_eq!(udp_ask(&one, address).await, first);
        let second = udp_ask(&two, address).await;
        if other != a {
            assert_eq!((first.as_str(), second.as_str()), ("a", "b"));
            publish(&mut running, service(&b.config, &[Down, Up])).await;
            assert_eq!(udp_ask(&one, address).await, "b");
        }
        running.stop().await;
    }
}
