//! Options of a relay's listener.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use support::{System, Text, lines, round_trip};

fn load(listen: &str, forward: &str) -> (Option<conf::Config>, Vec<String>) {
    let text = format!("relay r {{\n\tlisten on {listen}\n\tforward to {forward}\n}}\n");
    let loaded = conf::load(Path::new("x.conf"), &[], &Text(&text), &System);
    let messages = lines(&loaded);
    (loaded.config, messages)
}

#[test]
fn an_interface_is_understood_where_connections_are_diverted() {
    for listen in [
        "0.0.0.0 port 80 interface lan0",
        ":: port 80 interface \"lan0\"",
    ] {
        let (config, _) = load(listen, "destination");
        let config = config.unwrap();
        let interface = config.relays[0].listen.interface.as_deref();
        assert_eq!(interface, Some("lan0"));
        round_trip(&config, listen);
    }
}

#[test]
fn an_interface_without_effect_is_an_error() {
    for (listen, forward) in [
        ("0.0.0.0 port 80 interface lan0", "127.0.0.1 port 81"),
        ("0.0.0.0 port 80 interface lan0", "nat lookup"),
        // The administrator diverts.
        ("127.0.0.1 port 80 interface lan0", "destination"),
    ] {
        let (config, messages) = load(listen, forward);
        assert!(config.is_none(), "{listen} {forward}");
        let error = messages
            .iter()
            .find(|m| m.contains("superfluous interface"));
        assert!(error.is_some(), "{messages:?}");
    }
}
