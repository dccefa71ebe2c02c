//! Choice of hosts with several relay processes: every mode, limits, queues, slow start, backup tables, sticky cookies, reload.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../support/mod.rs"]
mod support;

mod cookie;
mod modes;
mod queue;

use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use support::Daemon;
use support::client::Echo;

/// Globals every test here wants: checks that a busy machine delays must not take a host down; who is stopped refuses
/// them at once.
const GLOBALS: &str = "interval 3\ntimeout 2500\nprefork 3\n";

const KEY: &str = "0x000102030405060708090a0b0c0d0e0f";

const NAMES: [&str; 3] = ["one", "two", "three"];

const HOSTS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn all_up(daemon: &Daemon, hosts: &[&str]) {
    let rows: Vec<_> = hosts.iter().map(|host| ("host", *host, "up")).collect();
    daemon.wait_rows(&rows);
}

/// Who answers, by number of answers.
fn count(at: u16, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts
            .entry(Echo::connect(local(at)).unwrap().name)
            .or_default() += 1;
    }
    counts
}

/// A relay for one mode.
fn relay(name: &str, at: u16, table: &str, target: u16, options: &str) -> String {
    format!(
        "relay \"{name}\" {{\n\tlisten on 127.0.0.1 port {at}\n\tforward to <{table}> port {target} check tcp {options}\n}}\n"
    )
}

/// What `relayctl -j show hosts` says of an object.
fn shown(daemon: &Daemon, list: &str, name: &str, field: &str) -> Value {
    let text = daemon.relayctl(&["-j", "show", "hosts"]).stdout;
    let document: Value = serde_json::from_str(&text).unwrap();
    let objects = document[list].as_array().unwrap();
    let object = objects.iter().find(|o| o["name"] == name);
    object.map(|o| o[field].clone()).unwrap_or(Value::Null)
}
