//! What relayctl and the parent do together: stop, reload, load, log, and what survives the death of the pfe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use support::daemon::Settings;
use support::{Daemon, Server, port, wait};

fn config(port: u16, server: u16) -> String {
    format!(
        "interval 1\ntable <t> {{ 127.0.0.1 }}\nrelay r {{\n\tlisten on 127.0.0.1 port {port}\n\tforward to <t> port {server} check tcp\n}}\n"
    )
}

fn start(config: &str) -> Daemon {
    let settings = Settings {
        verbose: 0,
        ..Settings::default()
    };
    Daemon::with(settings, config)
}

#[test]
fn relayctl_stop_is_a_clean_stop() {
    let mut daemon = start(&config(port(), port()));
    assert_eq!(daemon.relayctl(&["stop"]).code, 0);
    assert_eq!(daemon.wait_end().code(), Some(0));
    assert!(!daemon.socket().exists());
}

#[test]
fn relayctl_reload_and_load_bring_a_configuration_into_force() {
    let (first, second) = (port(), port());
    let daemon = start(&config(first, port()));
    daemon.configure(&format!(
        "{}relay s {{\n\tlisten on 127.0.0.1 port {second}\n\tforward to 127.0.0.1 port 9\n}}\n",
        config(first, 9)
    ));
    assert_eq!(daemon.relayctl(&["reload"]).code, 0);
    daemon.wait_line("configuration generation 2 in force");
    wait::until_true("the new relay is shown", || {
        daemon.summary().contains("\ts ")
    });
    let other = daemon.scratch().write("other.conf", &config(first, 9));
    assert_eq!(daemon.relayctl(&["load", other.to_str().unwrap()]).code, 0);
    daemon.wait_line("configuration generation 3 in force");
    wait::until_true("it is gone again", || !daemon.summary().contains("\ts "));
}

#[test]
fn the_debug_level_changes_in_every_process() {
    let daemon = start(&config(port(), port()));
    assert_eq!(daemon.relayctl(&["log", "verbose"]).code, 0);
    // Said by the check engine and by the parent.
    daemon.wait_line("hce_notify_done");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.wait_line("parent_reload: level 0");
    assert_eq!(daemon.relayctl(&["log", "brief"]).code, 0);
    wait::until_true("no debug line any more", || {
        let mark = daemon.mark();
        daemon.signal(nix::sys::signal::Signal::SIGHUP);
        daemon.wait_line_since(mark, "in force");
        !daemon
            .lines_since(mark)
            .iter()
            .any(|line| line.contains("parent_"))
    });
}

#[test]
fn what_was_disabled_by_hand_survives_every_death_and_a_reload() {
    let server = Server::http("a");
    let daemon = start(&config(port(), server.port()));
    daemon.wait_status("host", "127.0.0.1", "up");
    assert_eq!(daemon.relayctl(&["host", "disable", "1"]).code, 0);
    daemon.wait_status("host", "127.0.0.1", "disabled");
    for title in ["pf update engine", "host check engine"] {
        let victim = daemon.role(title)[0].clone();
        daemon.kill(&victim);
        wait::until_true("it is replaced", || {
            daemon.role(title).iter().any(|p| p.pid != victim.pid)
        });
        daemon.wait_status("host", "127.0.0.1", "disabled");
    }
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.wait_line("configuration generation 2 in force");
    daemon.wait_status("host", "127.0.0.1", "disabled");
    assert_eq!(daemon.relayctl(&["host", "enable", "1"]).code, 0);
    daemon.wait_status("host", "127.0.0.1", "up");
}
