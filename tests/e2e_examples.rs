//! Each file of conf/examples as a running daemon, on a machine that has its addresses and interfaces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use support::{Daemon, Netns, Scratch, Settings, wait};

/// Examples that another machine would start; here they are refused, and this is why.
const REFUSED: &[(&str, &str)] = &[
    ("client-certificates.conf", "cannot load keypair"),
    ("inspection.conf", "cannot load certificates for relay"),
    ("tls-accelerator.conf", "cannot load keypair"),
    ("tls-client.conf", "invalid forward ip: www.example.com"),
];

/// Examples whose redirects or relays need the kernel.
const KERNEL: &[&str] = &[
    "dsr-ipv4.conf",
    "dsr-ipv6.conf",
    "redirect.conf",
    "transparent-proxy.conf",
    "transparent.conf",
];

fn examples() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples");
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// Two cards that are each other's wire, with the addresses that the examples speak of.
fn machine() -> Netns {
    let machine = Netns::new("example");
    Netns::join(
        (&machine, "em0", &["192.0.2.1/24", "2001:db8::1/64"]),
        (&machine, "em1", &["10.1.0.1/16", "2001:db8:1::1/64"]),
    );
    machine.sysctl("net.ipv4.ip_forward", "1");
    machine.sysctl("net.ipv6.conf.all.forwarding", "1");
    // Every host has a way, though nobody is at home.
    machine.ip(&["route", "add", "default", "via", "192.0.2.254"]);
    machine
}

/// Ports of the addresses on which the file's relays listen.
fn relay_ports(config: &conf::Config) -> Vec<(u16, bool)> {
    let datagrams = |r: &conf::model::Relay| {
        let protocol = config.protocol(r.protocol);
        protocol.is_some_and(|p| p.kind.datagrams())
    };
    let relays = config.relays.iter();
    relays.map(|r| (r.listen.port, datagrams(r))).collect()
}

fn listens(machine: &Netns, (port, datagrams): (u16, bool)) -> bool {
    let kind = if datagrams { "-Hlun" } else { "-Hltn" };
    let sockets = machine.text("ss", &[kind]);
    let wanted = format!(":{port}");
    sockets.lines().any(|line| {
        line.split_whitespace()
            .any(|word| word.ends_with(wanted.as_str()))
    })
}

/// Starts it, and looks for its objects in relayctl and its listeners in the system.
fn try_example(machine: &Netns, name: &str, text: &str) {
    // Directories of an installed relayd.
    let installed = Scratch::new();
    let logs = installed.path("");
    let text = &text.replace("/var/log/relayd/", &logs.display().to_string());
    let settings = Settings {
        backend: if KERNEL.contains(&name) {
            "nftables"
        } else {
            "userland"
        },
        netns: Some(machine),
        ..Settings::default()
    };
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        let mut daemon = Daemon::launch(settings, text);
        assert_eq!(daemon.wait_end().code(), Some(1), "{name}");
        daemon.wait_line(reason);
        return;
    }
    let daemon = Daemon::with(settings, text);
    let json = daemon.summary();
    let words = ["-n", "-j", "-f"];
    let mut check = machine.command(env!("CARGO_BIN_EXE_relayd"));
    let checked = support::client::run(check.args(words).arg(daemon.file()));
    let checked: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let config: conf::Config = serde_json::from_value(checked["configuration"].clone()).unwrap();
    let redirects = config.redirects.iter().map(|r| &r.name);
    for object in redirects.chain(config.relays.iter().map(|r| &r.name)) {
        assert!(
            json.contains(object.as_str()),
            "{name}: no {object}:\n{json}"
        );
    }
    for port in relay_ports(&config) {
        wait::until_true(&format!("{name} listens on {port:?}"), || {
            listens(machine, port)
        });
    }
}

#[test]
fn every_example_starts_as_it_is_written_or_says_what_it_lacks() {
    needs_namespaces!();
    let machine = machine();
    let examples = examples();
    assert!(examples.len() >= 20);
    for (name, text) in &examples {
        if cfg!(not(feature = "nftables")) && KERNEL.contains(&name.as_str()) {
            continue;
        }
        println!("{name}");
        try_example(&machine, name, text);
    }
}
