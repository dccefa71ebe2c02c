//! The relay role over TCP, with real servers and clients on the loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use actors::link::{Admin, Message, RunState, Slot};
use conf::model::{Check, HostId, Mode, ProtocolId, ProtocolKind, RelayId, TableId, Target};
use std::collections::HashSet;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TCP: Check = Check::Tcp { tls: false };

#[actix::test]
async fn bytes_pass_and_each_direction_ends_by_itself() {
    let log = Log::start();
    for (server, listen) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let server = echo(server).await;
        let (address, fd) = bind(listen);
        let mut b = Builder::new();
        b.config.globals.log.connection = true;
        let table = b.table("web", TCP, &[server]);
        b.relay("www", address, &[(table, Mode::RoundRobin)]);
        let state = RunState {
            hosts: vec![up(1)],
            ..RunState::default()
        };
        let running =
            Running::start(0, &b.config, vec![(Slot::Relay(RelayId(1)), fd)], state).await;
        let mut client = within("connect", TcpStream::connect(address))
            .await
            .unwrap();
        client.write_all(b"one").await.unwrap();
        let mut got = [0; 3];
        within("echo", client.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"one");
        // Half-close: the server's answer to what came before still arrives.
        client.write_all(b"two").await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        within("the rest", client.read_to_end(&mut rest))
            .await
            .unwrap();
        assert_eq!(rest, b"two");
        let line = log
            .until(&format!("-> {}:{}, done", server.ip(), server.port()))
            .await;
        let expected = format!(
            "INFO relay www, session 1 (0 active), 0, {} -> {}:{}, done",
            address.ip(),
            server.ip(),
            server.port()
        );
        assert_eq!(line, expected);
        running.stop().await;
    }
    log.until("INFO adding 1 hosts from table web:").await;
    log.until("DEBUG relay_launch: running relay www").await;
}

#[actix::test]
async fn round_robin_skips_hosts_that_are_down_and_falls_back_to_the_next_table() {
    let a = Named::start("127.0.0.1:0", "a").await;
    let port = a.address.port();
    let b_host = Named::start(&format!("127.0.0.2:{port}"), "b").await;
    let spare = Named::start("127.0.0.1:0", "spare").await;
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let main = b.table("main", TCP, &[a.address, b_host.address]);
    let backup = b.table("backup", Check::None, &[spare.address]);
    b.relay(
        "www",
        address,
        &[(main, Mode::RoundRobin), (backup, Mode::RoundRobin)],
    );
    let mut running = Running::start(
        0,
        &b.config,
        vec![(Slot::Relay(RelayId(1)), fd)],
        RunState::default(),
    )
    .await;
    // Nothing is known of the main table yet.
    assert_eq!(ask(address).await, "spare");
    running.hosts(vec![up(1), up(2)]).await;
    running.sessions().await;
    let got = [ask(address).await, ask(address).await, ask(address).await];
    assert_eq!(got, ["a", "b", "a"]);
    running.hosts(vec![down(1)]).await;
    running.sessions().await;
    assert_eq!([ask(address).await, ask(address).await], ["b", "b"]);
    let off = |disabled| Message::Admin {
        change: Admin::Host {
            id: HostId(2),
            disabled,
        },
    };
    running.send(PFE, off(true)).await;
    running.sessions().await;
    assert_eq!(ask(address).await, "spare");
    running.send(PFE, off(false)).await;
    running.hosts(vec![up(2)]).await;
    running.sessions().await;
    assert_eq!(ask(address).await, "b");
    let message = running
        .receive(|_, m| matches!(m, Message::RelayStatistics { .. }))
        .await;
    let Message::RelayStatistics { sessions } = message else {
        panic!("{message:?}");
    };
    assert_eq!(sessions[0].0, RelayId(1));
    running.stop().await;
}

#[actix::test]
async fn loadbalance_keeps_a_client_at_its_host_in_every_process() {
    let mut servers = Vec::new();
    let mut port = 0;
    for (i, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let server = Named::start(&format!("127.0.0.{}:{port}", i + 1), name).await;
        port = server.address.port();
        servers.push(server);
    }
    let addresses: Vec<_> = servers.iter().map(|s| s.address).collect();
    let mut answers = HashSet::new();
    // Two processes with listeners of their own on one address, as prefork has them.
    let open = |port: u16| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        let address: std::net::SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(64).unwrap();
        std::net::TcpListener::from(socket)
    };
    let first = open(0);
    let address = first.local_addr().unwrap();
    let second = open(address.port());
    let mut b = Builder::new();
    let table = b.table("web", Check::None, &addresses);
    b.relay("www", address, &[(table, Mode::LoadBalance)]);
    let mut processes = Vec::new();
    for (i, listener) in [first, second].into_iter().enumerate() {
        let state = RunState {
            seed: [9; 16],
            ..RunState::default()
        };
        let fds = vec![(Slot::Relay(RelayId(1)), listener.into())];
        processes.push(Running::start(i as u32, &b.config, fds, state).await);
    }
    for _ in 0..32 {
        answers.insert(ask(address).await);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let mut served = 0;
    for process in &mut processes {
        process.sessions().await;
        let message = process
            .receive(|_, m| matches!(m, Message::RelayStatistics { .. }))
            .await;
        if let Message::RelayStatistics { sessions } = message {
            served += usize::from(sessions[0].1 > 0);
        }
    }
    assert_eq!(served, 2, "both processes had clients");
    for process in processes {
        process.stop().await;
    }
}

#[actix::test]
async fn a_slow_receiver_bounds_what_is_read_for_it() {
    for splice in [true, false] {
        // The server sends without end; the client reads nothing.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let sent = std::rc::Rc::new(std::cell::Cell::new(0_usize));
        let count = std::rc::Rc::clone(&sent);
        actix::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let block = vec![7; 65536];
            while let Ok(n) = socket.write(&block).await {
                count.set(count.get() + n);
            }
        });
        let (address, fd) = bind("127.0.0.1:0");
        let mut b = Builder::new();
        let protocol = b.protocol("p", ProtocolKind::Tcp);
        protocol.tcp.splice = splice;
        let table = b.table("web", Check::None, &[server]);
        b.relay("www", address, &[(table, Mode::RoundRobin)])
            .protocol = ProtocolId(1);
        let running = Running::start(
            0,
            &b.config,
            vec![(Slot::Relay(RelayId(1)), fd)],
            RunState::default(),
        )
        .await;
        let mut client = TcpStream::connect(address).await.unwrap();
        // Everything stands still once the kernel's buffers are full. Nothing tells that no more will be taken, so it is
        // looked at until two looks are alike; were they too close, less would be proved, and nothing would fail.
        let mut last = usize::MAX;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if sent.get() == last && last > 0 {
                break;
            }
            last = sent.get();
        }
        assert!(sent.get() > 0);
        assert!(sent.get() < 64 << 20, "{} bytes were taken in", sent.get());
        // It goes on when the client reads, and nothing is lost or reordered.
        let goal = sent.get() + (8 << 20);
        let mut read = 0;
        let mut buffer = vec![0; 65536];
        while read < goal {
            let n = within("more", client.read(&mut buffer)).await.unwrap();
            assert!(n > 0 && buffer[..n].iter().all(|&b| b == 7));
            read += n;
        }
        running.stop().await;
    }
}

#[actix::test]
async fn bulk_data_arrives_in_order_both_ways() {
    for splice in [true, false] {
        let server = echo("127.0.0.1:0").await;
        let (address, fd) = bind("127.0.0.1:0");
        let mut b = Builder::new();
        b.protocol("p", ProtocolKind::Tcp).tcp.splice = splice;
        let table = b.table("web", Check::None, &[server]);
        b.relay("www", address, &[(table, Mode::RoundRobin)])
            .protocol = ProtocolId(1);
        let running = Running::start(
            0,
            &b.config,
            vec![(Slot::Relay(RelayId(1)), fd)],
            RunState::default(),
        )
        .await;
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        const TOTAL: usize = 32 << 20;
        let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        let writer = actix::spawn(async move {
            let mut at = 0;
            while at < TOTAL {
                // Odd sizes, so that nothing is aligned.
                let size = 70_001.min(TOTAL - at);
                let block: Vec<u8> = (at..at + size).map(byte).collect();
                write.write_all(&block).await.unwrap();
                at += size;
            }
            write.shutdown().await.unwrap();
        });
        let mut at = 0;
        let mut buffer = vec![0; 65536];
        loop {
            let n = within("bytes", read.read(&mut buffer)).await.unwrap();
            if n == 0 {
                break;
            }
            for (i, got) in buffer[..n].iter().enumerate() {
                assert_eq!(*got, byte(at + i), "byte {}", at + i);
            }
            at += n;
        }
        assert_eq!(at, TOTAL);
        writer.await.unwrap();
        running.stop().await;
    }
}

#[actix::test]
async fn idle_sessions_end_by_the_session_timeout() {
    let log = Log::start();
    let server = echo("127.0.0.1:0").await;
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    b.config.globals.log.connection_errors = true;
    let table = b.table("web", Check::None, &[server]);
    b.relay("www", address, &[(table, Mode::RoundRobin)])
        .session_timeout = Duration::from_secs(1);
    let mut running = Running::start(
        0,
        &b.config,
        vec![(Slot::Relay(RelayId(1)), fd)],
        RunState::default(),
    )
    .await;
    let started = std::time::Instant::now();
    let mut client = TcpStream::connect(address).await.unwrap();
    running.until_sessions(1).await;
    let mut rest = Vec::new();
    let _ = within("the end", client.read_to_end(&mut rest)).await;
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(6),
        "{took:?}"
    );
    log.until("WARN relay www, session 1 (0 active), 0, 127.0.0.1 -> 127.0.0.1:")
        .await;
    log.until(", buffer event timeout").await;
    running.until_sessions(0).await;
    running.stop().await;
}

#[actix::test]
async fn another_host_takes_over_when_the_first_refuses() {
    let log = Log::start();
    let good = Named::start("127.0.0.2:0", "good").await;
    let port = good.address.port();
    // Nobody listens at 127.0.0.3 on this port.
    let bad = std::net::SocketAddr::from(([127, 0, 0, 3], port));
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    b.config.globals.log.connection = true;
    let table = b.table("web", Check::None, &[bad, good.address]);
    b.relay("www", address, &[(table, Mode::RoundRobin)]);
    let (alone, alone_fd) = bind("127.0.0.1:0");
    let only = b.table("only", Check::None, &[bad]);
    b.relay("alone", alone, &[(only, Mode::RoundRobin)]);
    let (nobody, nobody_fd) = bind("127.0.0.1:0");
    let down = b.table("down", TCP, &[bad]);
    b.relay("nobody", nobody, &[(down, Mode::RoundRobin)]);
    let (fixed, fixed_fd) = bind("127.0.0.1:0");
    b.relay("fixed", fixed, &[]).target = Target::Address {
        address: good.address.ip().into(),
        port,
    };
    let running = Running::start(
        0,
        &b.config,
        vec![
            (Slot::Relay(RelayId(1)), fd),
            (Slot::Relay(RelayId(2)), alone_fd),
            (Slot::Relay(RelayId(3)), nobody_fd),
            (Slot::Relay(RelayId(4)), fixed_fd),
        ],
        RunState::default(),
    )
    .await;
    for _ in 0..4 {
        assert_eq!(ask(address).await, "good");
    }
    assert_eq!(ask(alone).await, "");
    log.until(&format!(
        "relay alone, session 5 (0 active), 0, 127.0.0.1 -> 127.0.0.3:{port}, socket error: Connection refused"
    ))
    .await;
    assert_eq!(ask(nobody).await, "");
    log.until("relay nobody, session 6 (0 active), 0, 127.0.0.1 -> :0, session failed")
        .await;
    assert_eq!(ask(fixed).await, "good");
    running.stop().await;
}

#[actix::test]
async fn a_reload_keeps_sessions_and_listeners_and_changes_what_is_new() {
    let old = echo("127.0.0.1:0").await;
    let new = Named::start("127.0.0.1:0", "new").await;
    let (address, fd) = bind("127.0.0.1:0");
    let (other, other_fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let table = b.table("web", Check::None, &[old]);
    b.relay("www", address, &[(table, Mode::RoundRobin)]);
    b.relay("other", other, &[(table, Mode::RoundRobin)]);
    let mut running = Running::start(
        0,
        &b.config,
        vec![
            (Slot::Relay(RelayId(1)), fd),
            (Slot::Relay(RelayId(2)), other_fd),
        ],
        RunState::default(),
    )
    .await;
    let mut client = TcpStream::connect(address).await.unwrap();
    running.until_sessions(1).await;
    let mut b = Builder::new();
    let table = b.table("web", Check::None, &[new.address]);
    assert_eq!(table, TableId(1));
    b.relay("www", address, &[(table, Mode::RoundRobin)]);
    running.load(&b.config, vec![], RunState::default()).await;
    running.sessions().await;
    // New connections follow the new configuration, the old session its own.
    assert_eq!(ask(address).await, "new");
    client.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    within("echo", client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"still here");
    // The removed relay does not accept any more.
    for _ in 0..100 {
        if TcpStream::connect(other).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(TcpStream::connect(other).await.is_err());
    running.until_sessions(1).await;
    running.stop().await;
}

#[actix::test]
async fn sessions_are_listed_and_killed_and_disabled_relays_close() {
    let server = echo("127.0.0.1:0").await;
    let (address, fd) = bind("127.0.0.1:0");
    let (closed, closed_fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let table = b.table("web", Check::None, &[server]);
    b.relay("www", address, &[(table, Mode::RoundRobin)]);
    b.relay("closed", closed, &[(table, Mode::RoundRobin)])
        .disabled = true;
    let mut running = Running::start(
        0,
        &b.config,
        vec![
            (Slot::Relay(RelayId(1)), fd),
            (Slot::Relay(RelayId(2)), closed_fd),
        ],
        RunState::default(),
    )
    .await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"x").await.unwrap();
    within("echo", client.read_exact(&mut [0])).await.unwrap();
    let sessions = running.sessions().await;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].relay, RelayId(1));
    assert_eq!(sessions[0].client, client.local_addr().unwrap());
    assert_eq!(sessions[0].server, Some(server));
    let kill = Message::KillSession {
        session: sessions[0].id,
    };
    running.send(PFE, kill).await;
    let mut rest = Vec::new();
    let _ = within("the end", client.read_to_end(&mut rest)).await;
    running.until_sessions(0).await;
    assert_eq!(ask(closed).await, "");
    let enable = Message::Admin {
        change: Admin::Relay {
            id: RelayId(2),
            disabled: false,
        },
    };
    running.send(PFE, enable).await;
    running.sessions().await;
    let mut client = TcpStream::connect(closed).await.unwrap();
    client.write_all(b"y").await.unwrap();
    within("echo", client.read_exact(&mut [0])).await.unwrap();
    running.stop().await;
}
