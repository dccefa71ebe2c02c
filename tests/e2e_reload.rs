//! Reload: a good file changes what it says and nothing else; a broken one changes nothing and is explained.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::sys::signal::Signal;
use std::net::{Ipv4Addr, SocketAddr};
use support::client::Echo;
use support::{Daemon, Server, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A configuration with one relay per (name, port), all to one table.
fn config(target: u16, relays: &[(&str, u16)]) -> String {
    let mut text =
        "interval 1\ntimeout 500\nprefork 2\nlog host checks\ntable <t> { 127.0.0.1 }\n".to_owned();
    for (name, at) in relays {
        text += &format!(
            "relay {name} {{
	listen on 127.0.0.1 port {at}
	forward to <t> port {target} check tcp
}}
"
        );
    }
    text
}

#[test]
fn a_good_reload_changes_what_changed_and_keeps_the_rest() {
    let server = Server::echo("one");
    let (kept, removed, added) = (port(), port(), port());
    let daemon = Daemon::start(&config(
        server.port(),
        &[("kept", kept), ("removed", removed)],
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    let mut session = Echo::connect(local(kept)).unwrap();
    session.exchange(b"before").unwrap();
    let mut leaving = Echo::connect(local(removed)).unwrap();
    leaving.exchange(b"before").unwrap();
    let processes = support::process::children(daemon.pid());

    let mark = daemon.mark();
    daemon.configure(&config(server.port(), &[("kept", kept), ("added", added)]));
    let answer = daemon.relayctl(&["reload"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""));
    daemon.wait_status("relay", "added", "active");
    assert!(
        !daemon.summary().contains("removed"),
        "{}",
        daemon.summary()
    );
    wait::until_true("the new relay serves", || {
        Echo::connect(local(added)).is_ok()
    });
    wait::until_true("the removed relay is gone", || {
        Echo::connect(local(removed)).is_err()
    });

    // What did not change: processes, sessions, host state.
    assert_eq!(support::process::children(daemon.pid()), processes);
    session.exchange(b"after").unwrap();
    leaving.exchange(b"a session ends as it began").unwrap();
    let lines = daemon.lines_since(mark);
    assert!(
        !lines.iter().any(|line| line.contains("state unknown")),
        "{lines:#?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("-> down")),
        "{lines:#?}"
    );
}

#[test]
fn a_broken_reload_changes_nothing_and_says_why() {
    let server = Server::echo("one");
    let at = port();
    let good = config(server.port(), &[("kept", at)]);
    let daemon = Daemon::start(&good);
    daemon.wait_status("host", "127.0.0.1", "up");
    let mut session = Echo::connect(local(at)).unwrap();
    let broken = good
        .replace("interval 1\n", "intervall 1\n")
        .replace("check tcp", "check tpc");
    let file = daemon.file();
    for by_signal in [true, false] {
        let mark = daemon.mark();
        daemon.configure(&broken);
        if by_signal {
            daemon.signal(Signal::SIGHUP);
        } else {
            assert_eq!(daemon.relayctl(&["reload"]).code, 0);
        }
        // Both mistakes, each with its place.
        daemon.wait_line_since(mark, &format!("{}:1: ", file.display()));
        daemon.wait_line_since(mark, "invalid check type: tpc");
        session.exchange(b"alive").unwrap();
        Echo::connect(local(at)).unwrap().exchange(b"new").unwrap();
        assert!(daemon.summary().contains("kept"));
    }
    // And a good file is taken again.
    let more = port();
    daemon.configure(&config(server.port(), &[("kept", at), ("more", more)]));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_status("relay", "more", "active");
    session.exchange(b"alive").unwrap();
}

#[test]
fn a_port_that_is_taken_refuses_the_reload() {
    let server = Server::echo("one");
    let taken = Server::echo("other");
    let at = port();
    let daemon = Daemon::start(&config(server.port(), &[("kept", at)]));
    daemon.wait_status("host", "127.0.0.1", "up");
    let mark = daemon.mark();
    daemon.configure(&config(
        server.port(),
        &[("kept", at), ("wrong", taken.port())],
    ));
    daemon.signal(Signal::SIGHUP);
    let line = daemon.wait_line_since(mark, &taken.port().to_string());
    assert!(line.contains("in use"), "{line}");
    assert!(!daemon.summary().contains("wrong"));
    assert_eq!(Echo::connect(local(at)).unwrap().name, "one");
}

#[test]
fn load_takes_another_file() {
    let server = Server::echo("one");
    let (first, second) = (port(), port());
    let daemon = Daemon::start(&config(server.port(), &[("first", first)]));
    let other = daemon
        .scratch()
        .write("other.conf", &config(server.port(), &[("second", second)]));
    assert_eq!(daemon.relayctl(&["load", other.to_str().unwrap()]).code, 0);
    daemon.wait_status("relay", "second", "active");
    wait::until_true("it serves", || Echo::connect(local(second)).is_ok());
}

#[test]
fn administration_survives_a_reload() {
    let server = Server::echo("one");
    let at = port();
    let daemon = Daemon::start(&config(server.port(), &[("kept", at)]));
    daemon.wait_status("host", "127.0.0.1", "up");
    assert_eq!(daemon.relayctl(&["host", "disable", "1"]).code, 0);
    daemon.wait_status("host", "127.0.0.1", "disabled");
    let more = port();
    daemon.configure(&config(server.port(), &[("kept", at), ("more", more)]));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_status("relay", "more", "active");
    daemon.wait_status("host", "127.0.0.1", "disabled");
}
