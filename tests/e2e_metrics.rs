//! The metrics listener: names by the conventions of Prometheus, values that follow what happens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use support::client::{Echo, who};
use support::servers::Speech;
use support::{Daemon, Server, Settings, port, wait};

/// Value of the metric whose name and labels are all there; sums over processes.
fn value(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let values: Vec<f64> = page
        .lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
                && labels
                    .iter()
                    .all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
        })
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

fn wait_value(daemon: &Daemon, name: &str, labels: &[(&str, &str)], wanted: f64) {
    let mut last = None;
    let found = wait::within_or_none(support::BOUND, || {
        last = value(&daemon.metrics(), name, labels);
        (last == Some(wanted)).then_some(())
    });
    assert!(
        found.is_some(),
        "{name} {labels:?} is {last:?}, not {wanted}, in\n{}",
        daemon.metrics()
    );
}

#[test]
fn values_follow_what_happens() {
    for single in [false, true] {
        follow(single);
    }
}

fn follow(single: bool) {
    let mut servers = Server::row(Speech::Http, &["one", "two"]);
    let echo = Server::echo("echo");
    let target = servers[0].port();
    let (at, www, raw) = (port(), port(), port());
    let settings = Settings {
        single,
        metrics: Some(port()),
        ..Settings::default()
    };
    let daemon = Daemon::with(
        settings,
        &format!(
            "interval 1
timeout 500
prefork 2
table <web> {{ 127.0.0.1 127.0.0.2 }}
table <raw> {{ 127.0.0.1 }}
redirect shop {{
	listen on 127.0.0.1 port {at}
	forward to <web> port {target} check http \"/\" code 200
}}
http protocol web {{ pass }}
relay www {{
	listen on 127.0.0.1 port {www}
	protocol web
	forward to <web> port {target} check http \"/\" code 200
}}
relay raw {{
	listen on 127.0.0.1 port {raw}
	forward to <raw> port {} check tcp
}}
",
            echo.port()
        ),
    );
    let table = format!("web:{target}");
    let (one, two) = (
        [("host", "127.0.0.1"), ("table", table.as_str())],
        [("host", "127.0.0.2"), ("table", table.as_str())],
    );
    daemon.wait_rows(&[("redirect", "shop", "active"), ("host", "127.0.0.2", "up")]);

    // Hosts, tables. The table is used twice; both instances carry the same name.
    wait::until_true("both hosts are up", || {
        let page = daemon.metrics();
        value(&page, "relayd_host_up", &one).is_some_and(|v| v >= 1.0)
            && value(&page, "relayd_host_up", &two).is_some_and(|v| v >= 1.0)
    });
    servers[1].stop();
    wait_value(&daemon, "relayd_host_up", &two, 0.0);
    servers[1].start();

    // Redirects and relays count sessions.
    wait_value(&daemon, "relayd_redirect_up", &[("redirect", "shop")], 1.0);
    let named = [("redirect", "shop"), ("id", "1")];
    wait_value(&daemon, "relayd_redirect_info", &named, 1.0);
    for _ in 0..5 {
        who((Ipv4Addr::LOCALHOST, at).into()).unwrap();
    }
    wait_value(
        &daemon,
        "relayd_redirect_sessions_total",
        &[("redirect", "shop")],
        5.0,
    );
    let hour = [("redirect", "shop"), ("period", "hour")];
    wait_value(&daemon, "relayd_redirect_sessions_last", &hour, 5.0);
    wait_value(&daemon, "relayd_redirect_sessions_average", &hour, 0.0);
    for _ in 0..7 {
        who((Ipv4Addr::LOCALHOST, www).into()).unwrap();
    }
    wait_value(
        &daemon,
        "relayd_relay_sessions_total",
        &[("relay", "www")],
        7.0,
    );
    let client = Echo::connect((Ipv4Addr::LOCALHOST, raw).into()).unwrap();
    wait_value(
        &daemon,
        "relayd_relay_sessions_active",
        &[("relay", "raw")],
        1.0,
    );
    drop(client);
    wait_value(
        &daemon,
        "relayd_relay_sessions_active",
        &[("relay", "raw")],
        0.0,
    );

    let page = daemon.metrics();
    assert!(
        value(&page, "process_resident_memory_bytes", &[]).is_some_and(|v| v > 0.0),
        "{page}"
    );
    conventions(&page);
}

/// Every sample belongs to a described metric, counters end in `_total`, no other unit than seconds and bytes.
fn conventions(page: &str) {
    let mut kinds = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in page.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with("# TYPE ") {
            assert!(kinds.insert(words[2], words[3]).is_none(), "{line} twice");
        } else if line.starts_with("# HELP ") {
            assert!(words.len() > 4, "{line}");
            helped.insert(words[2]);
        } else if !line.is_empty() {
            let name = line.split(['{', ' ']).next().unwrap();
            let kind = kinds
                .get(name)
                .unwrap_or_else(|| panic!("no TYPE for {name}"));
            assert!(helped.contains(name), "no HELP for {name}");
            assert_eq!(
                *kind == "counter",
                name.ends_with("_total"),
                "{name} is a {kind}"
            );
            assert!(
                name.starts_with("relayd_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(!name.contains("_ms") && !name.contains("milli"), "{name}");
        }
    }
    assert!(kinds.len() > 10, "{kinds:?}");
}

#[test]
fn without_the_option_there_is_no_status_process() {
    let echo = Server::echo("echo");
    let config = format!(
        "prefork 1
table <t> {{ 127.0.0.1 }}
relay r {{
	listen on 127.0.0.1 port {}
	forward to <t> port {} check tcp
}}
",
        port(),
        echo.port()
    );
    assert_eq!(Daemon::start(&config).role("status engine").len(), 0);
    let settings = Settings {
        metrics: Some(port()),
        ..Settings::default()
    };
    assert_eq!(
        Daemon::with(settings, &config).role("status engine").len(),
        1
    );
}
