//! Administration, reload, restart, parents, retry and schedule.

use crate::harness::{Harness, INTERVAL, Server, TCP, config, host, http};
use actors::link::{Admin, Message, Peer, Role, RunState};
use actors::options::Options;
use conf::model::{HostId, TableId};
use protocols::host::{HostState, HostStatus, Reason};
use std::sync::atomic::Ordering;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

#[actix::test]
async fn disabled_host_is_unknown_and_enabled_one_is_checked_at_once() {
    let server = Server::start(|_| {});
    let mut config = config(vec![(TCP, server.address.port(), vec!["127.0.0.1"])]);
    config.tables[0].interval = LONG;
    config.globals.interval = LONG;
    let mut hce = Harness::start(config).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    let id = HostId(1);
    let change = |disabled| Message::Admin {
        change: Admin::Host { id, disabled },
    };
    hce.tell(change(true)).await;
    hce.until_host(1, HostState::Unknown, Reason::None).await;
    assert_eq!(hce.status(1).checks, 0);
    hce.tell(Message::Poll).await;
    hce.listen(Duration::from_millis(100)).await;
    assert_eq!(hce.status(1).state, HostState::Unknown);
    hce.tell(change(false)).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    hce.stop().await;
}

#[actix::test]
async fn disabled_table_is_not_checked() {
    let server = Server::start(|_| {});
    let mut config = config(vec![(TCP, server.address.port(), vec!["127.0.0.1"])]);
    config.tables[0].disabled = true;
    let mut hce = Harness::start(config).await;
    hce.listen(2 * INTERVAL).await;
    assert!(hce.hosts.is_empty());
    let id = TableId(1);
    let change = Admin::Table {
        id,
        disabled: false,
    };
    hce.tell(Message::Admin { change }).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    hce.stop().await;
}

#[actix::test]
async fn poll_checks_everything_now_and_ends_a_round() {
    let server = Server::start(|_| {});
    let mut config = config(vec![(TCP, server.address.port(), vec!["127.0.0.1"; 3])]);
    config.tables[0].interval = LONG;
    config.globals.interval = LONG;
    let mut hce = Harness::start(config).await;
    hce.until("first round", |h| h.rounds == 1 && h.hosts.len() == 3)
        .await;
    hce.tell(Message::Poll).await;
    hce.until("second round", |h| h.rounds == 2).await;
    for id in 1..=3 {
        assert_eq!(hce.status(id).checks, 2);
    }
    hce.stop().await;
}

#[actix::test]
async fn children_copy_their_parent_over_tables() {
    let server = Server::start(|_| {});
    let (web, closed) = (server.address.port(), 1);
    let mut config = config(vec![
        (TCP, web, vec!["127.0.0.1"]),
        (TCP, closed, vec!["127.0.0.1", "127.0.0.1"]),
    ]);
    config.tables[1].hosts[0].parent = Some(HostId(1));
    let mut hce = Harness::start(config).await;
    hce.until_host(2, HostState::Up, Reason::TcpConnectOk).await;
    hce.until_host(3, HostState::Down, Reason::TcpConnectFailed)
        .await;
    let change = Admin::Host {
        id: HostId(1),
        disabled: true,
    };
    hce.tell(Message::Admin { change }).await;
    hce.until_host(2, HostState::Unknown, Reason::None).await;
    hce.stop().await;
}

#[actix::test]
async fn retry_keeps_a_host_up_for_that_many_failures() {
    let server = Server::start(|_| {});
    let mut config = config(vec![(TCP, server.address.port(), vec!["127.0.0.1"])]);
    config.tables[0].hosts[0].retry = 2;
    let mut hce = Harness::start(config).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    drop(server);
    hce.until_host(1, HostState::Up, Reason::TcpConnectFailed)
        .await;
    hce.until_host(1, HostState::Down, Reason::TcpConnectFailed)
        .await;
    let status = hce.status(1);
    assert_eq!(
        status.checks - status.ups,
        1,
        "covered failures count as up"
    );
    hce.stop().await;
}

#[actix::test]
async fn restart_goes_on_from_what_was_known() {
    let server = Server::start(|_| {});
    let tables = vec![
        (TCP, server.address.port(), vec!["127.0.0.1"]),
        (http(200), server.address.port(), vec!["127.0.0.1"]),
    ];
    let known = |id, state, checks| HostStatus {
        state,
        checks,
        ups: checks,
        ..HostStatus::unknown(HostId(id))
    };
    let state = RunState {
        hosts: vec![known(1, HostState::Up, 41), known(2, HostState::Up, 9)],
        admin: vec![Admin::Host {
            id: HostId(2),
            disabled: true,
        }],
        ..RunState::default()
    };
    let mut hce = Harness::start_with(config(tables), state, Options::default()).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    assert_eq!(hce.status(1).checks, 42);
    assert_eq!(
        hce.history,
        vec![(HostId(1), HostState::Up)],
        "no flap, and host 2 is disabled"
    );
    hce.stop().await;
}

#[actix::test]
async fn reload_keeps_unchanged_hosts_and_checks_new_ones_at_once() {
    let server = Server::start(|_| {});
    let port = server.address.port();
    let mut first = config(vec![(TCP, port, vec!["127.0.0.1"])]);
    first.tables[0].interval = LONG;
    first.globals.interval = LONG;
    let mut second = first.clone();
    second.tables[0].hosts.push(host(2, "127.0.0.1"));
    let mut hce = Harness::start(first).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    hce.load(second, RunState::default()).await;
    hce.until_host(2, HostState::Up, Reason::TcpConnectOk).await;
    assert_eq!(
        hce.status(1).checks,
        1,
        "an unchanged host is not checked out of turn"
    );
    hce.tell(Message::Poll).await;
    hce.until("second check", |h| h.status(1).checks == 2).await;
    assert!(!hce.history.contains(&(HostId(1), HostState::Unknown)));
    hce.stop().await;
}

#[actix::test]
async fn aborted_configuration_leaves_everything_as_it_is() {
    let server = Server::start(|_| {});
    let config = config(vec![(TCP, server.address.port(), vec!["127.0.0.1"])]);
    let mut hce = Harness::start(config.clone()).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    let mut other = config;
    other.tables.clear();
    hce.tell(Message::Stage {
        generation: 9,
        config: other.into(),
        state: RunState::default().into(),
    })
    .await;
    hce.tell(Message::Abort { generation: 9 }).await;
    hce.tell(Message::Commit { generation: 9 }).await;
    let before = hce.status(1).checks;
    hce.until("further checks", |h| h.status(1).checks > before + 1)
        .await;
    hce.stop().await;
}

#[actix::test]
async fn restarted_process_is_told_everything() {
    let server = Server::start(|_| {});
    let mut config = config(vec![(TCP, server.address.port(), vec!["127.0.0.1"])]);
    config.tables[0].interval = LONG;
    let mut hce = Harness::start(config).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    let peer = Peer {
        role: Role::Pfe,
        instance: 0,
    };
    hce.hosts.clear();
    hce.tell(Message::Restarted { peer }).await;
    hce.until("status for the restarted process", |h| {
        h.hosts.contains_key(&HostId(1))
    })
    .await;
    hce.stop().await;
}

#[actix::test]
async fn interval_is_exact_and_servers_need_not_accept() {
    let server = Server::start(|_| {});
    let config = config(vec![(TCP, server.address.port(), vec!["127.0.0.1"])]);
    let mut hce = Harness::start(config).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    let start = tokio::time::Instant::now();
    hce.until("five more checks", |h| h.status(1).checks == 6)
        .await;
    let took = start.elapsed();
    // Five intervals; the original would need ten. The rest is room for a busy machine.
    assert!(took > 4 * INTERVAL && took < 8 * INTERVAL, "{took:?}");
    let accepted = server.accepted.load(Ordering::Relaxed);
    println!("6 checks, {accepted} connections seen by the server");
    hce.stop().await;
}

#[actix::test]
async fn snapshots_carry_hosts_and_tables() {
    let server = Server::start(|_| {});
    let config = config(vec![(TCP, server.address.port(), vec!["127.0.0.1"])]);
    let options = Options {
        metrics: Some("127.0.0.1:0".parse().unwrap()),
        ..Options::default()
    };
    let mut hce = Harness::start_with(config, RunState::default(), options).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    hce.until("snapshot", |h| {
        h.samples
            .iter()
            .any(|s| s.name == "relayd_table_hosts_up" && s.value == 1.0)
    })
    .await;
    let host = hce.samples.iter().find(|s| s.name == "relayd_host_up");
    assert_eq!(host.unwrap().labels[0].1, "127.0.0.1");
    hce.stop().await;
}
