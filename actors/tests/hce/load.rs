//! What checks cost.

use crate::harness::{Harness, Server, TCP, config};
use actors::link::Message;
use conf::model::{Address, Check};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use protocols::host::HostState;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros as u64)
}

#[actix::test]
async fn thousand_hosts_a_second_are_cheap() {
    let server = Server::start(|_| {});
    let hosts = vec!["127.0.0.1"; 1000];
    let mut config = config(vec![(TCP, server.address.port(), hosts)]);
    config.tables[0].interval = Duration::from_secs(1);
    config.globals.interval = Duration::from_secs(1);
    let mut hce = Harness::start(config).await;
    hce.until("first round", |h| h.hosts.len() == 1000).await;
    let before: u64 = hce.hosts.values().map(|status| status.checks).sum();
    let start = cpu();
    hce.listen(Duration::from_secs(3)).await;
    let used = cpu() - start;
    let after: u64 = hce.hosts.values().map(|status| status.checks).sum();
    let checks = after - before;
    println!(
        "{checks} checks in 3 s: {:.1} ms CPU per 1,000 checks, reader included (this build)",
        used.as_secs_f64() * 1e6 / checks as f64
    );
    assert!((2500..=3500).contains(&checks), "{checks}");
    hce.stop().await;
}

#[actix::test]
async fn burst_of_a_thousand_echo_requests_loses_none() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: ICMP sockets need root");
        return;
    }
    let mut config = config(vec![(Check::Icmp, 0, vec!["127.0.0.1"; 1000])]);
    for (index, host) in config.tables[0].hosts.iter_mut().enumerate() {
        let ip = Ipv4Addr::from(0x7f00_0001 + index as u32);
        host.address = Address::from(IpAddr::V4(ip));
    }
    let mut hce = Harness::start(config).await;
    hce.until("first round", |h| h.hosts.len() == 1000).await;
    let down = hce.hosts.values().filter(|s| s.state != HostState::Up);
    assert_eq!(down.count(), 0);
    hce.stop().await;
}

#[actix::test]
async fn more_hosts_than_a_batch_are_all_checked() {
    let server = Server::answering(b"HTTP/1.0 200 OK\r\n\r\n");
    let hosts = vec!["127.0.0.1"; 2 * conf::limits::CHECK_BATCH + 7];
    let count = hosts.len();
    let check = crate::harness::http(200);
    let mut config = config(vec![(check, server.address.port(), hosts)]);
    // One thread answers all of them.
    config.tables[0].timeout = Duration::from_secs(9);
    config.tables[0].interval = Duration::from_secs(60);
    let mut hce = Harness::start(config).await;
    hce.until("first round", |h| h.hosts.len() == count).await;
    let up = hce.hosts.values().filter(|s| s.state == HostState::Up);
    assert_eq!(up.count(), count);
    hce.stop().await;
}

#[actix::test]
async fn scripts_are_bounded_and_the_others_get_their_turn() {
    let check = Check::Script {
        path: PathBuf::from("/bin/check"),
    };
    let total = conf::limits::CHECK_SCRIPTS_MAX + 20;
    let mut config = config(vec![(check, 80, vec!["127.0.0.1"; total])]);
    config.tables[0].interval = Duration::from_secs(60);
    let mut hce = Harness::start(config).await;
    hce.until("a full set of scripts", |h| {
        h.scripts.len() == conf::limits::CHECK_SCRIPTS_MAX
    })
    .await;
    hce.listen(Duration::from_millis(50)).await;
    assert_eq!(hce.scripts.len(), conf::limits::CHECK_SCRIPTS_MAX);
    for (request, _) in hce.scripts.clone() {
        let status = Some(1);
        hce.tell(Message::ScriptResult { request, status }).await;
    }
    hce.until("the rest", |h| h.scripts.len() == total).await;
    let requests: BTreeSet<u64> = hce.scripts.iter().map(|(request, _)| *request).collect();
    assert_eq!(requests.len(), total, "a request number was used twice");
    hce.stop().await;
}
