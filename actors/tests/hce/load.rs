//! What checks cost.

use crate::harness::{Harness, Server, TCP, config};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
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
