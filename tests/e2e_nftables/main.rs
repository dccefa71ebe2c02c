//! Redirects in the kernel with the whole daemon: what a crash, a foreign flush, a restart, a reload or a switch does to the
//! connections of clients, in both address families.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../support/mod.rs"]
mod support;

mod counting;
mod hosts;
mod listing;
mod survival;

use std::net::SocketAddr;
use support::client::Echo;
use support::network::Network;
use support::{Daemon, process, wait};

/// Two redirects with all three servers; `options` stand in both.
fn both(options: &str) -> String {
    format!(
        "interval 1
timeout 500
prefork 1
log state changes
table <four> {{ 192.0.2.18 192.0.2.34 192.0.2.50 }}
table <six> {{ 2001:db8:1::2 2001:db8:2::2 2001:db8:3::2 }}
redirect four {{
	listen on 198.51.100.1 port 8080
	forward to <four> port 80 check tcp
	{options}
}}
redirect six {{
	listen on 2001:db8::1 port 8080
	forward to <six> port 80 check tcp
	{options}
}}
"
    )
}

fn addresses() -> [SocketAddr; 2] {
    ["198.51.100.1:8080", "[2001:db8::1]:8080"].map(|a| a.parse().unwrap())
}

fn wait_all_up(daemon: &Daemon) {
    daemon.wait_rows(&[
        ("table", "four:80", "active (3 hosts)"),
        ("table", "six:80", "active (3 hosts)"),
        ("redirect", "four", "active"),
        ("redirect", "six", "active"),
    ]);
}

/// A connection to each server in each family.
fn hold(network: &Network) -> Vec<Echo> {
    addresses()
        .iter()
        .flat_map(|to| network.held(*to))
        .collect()
}

fn undisturbed(kept: &mut [Echo]) {
    for client in kept {
        let name = client.name.clone();
        let answer = client.exchange(b"undisturbed");
        assert!(answer.is_ok(), "connection to {name}: {answer:?}");
    }
}

/// Kills the packet filter engine, does something while there is none, and waits until the next one took over.
fn replace_filter_engine(daemon: &Daemon, meanwhile: impl FnOnce()) {
    let title = "pf update engine";
    let victim = daemon.role(title).remove(0);
    let mark = daemon.mark();
    daemon.kill(&victim);
    wait::until_true("its end", || !process::alive(victim.pid));
    meanwhile();
    daemon.wait_line_since(mark, "pfe: filter init done");
}
