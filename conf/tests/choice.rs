//! Options for the choice of a host: slow start, queue, sticky cookie.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use conf::model::{HashKey, Mode, Queue};
use std::path::Path;
use std::time::Duration;
use support::{System, Text, lines, round_trip};

fn relay(kind: &str, options: &str) -> String {
    format!(
        "table <t> {{ 127.0.0.1 }}\n{kind} protocol p {{\n}}\nrelay r {{\nlisten on 127.0.0.1 port 1\n\
         protocol p\nforward to <t> port 80 {options}\n}}\n"
    )
}

fn load(text: &str) -> (Option<conf::Config>, Vec<String>) {
    let loaded = conf::load(Path::new("x.conf"), &[], &Text(text), &System);
    let messages = lines(&loaded);
    (loaded.config, messages)
}

#[test]
fn options_are_understood_in_any_order_and_written_again() {
    for options in [
        "mode roundrobin slow start 30 queue 5 wait 7 sticky cookie \"SID\" \"secret\" check tcp",
        "sticky cookie SID \"secret\" queue 5 wait 7 slow start 30 mode roundrobin check tcp",
        "mode roundrobin queue 5 wait 7 slow start 30 check tcp sticky cookie \"SID\" \"secret\"",
        "mode roundrobin sticky cookie \"SID\" \"secret\" slow start 30 queue 5 wait 7 check tcp",
    ] {
        let text = relay("http", options);
        let (config, messages) = load(&text);
        assert_eq!(messages, [""; 0], "{options}");
        let config = config.unwrap();
        let table = &config.tables[0];
        assert_eq!(table.slow_start, Some(Duration::from_secs(30)));
        let queue = Queue {
            length: 5,
            wait: Duration::from_secs(7),
        };
        assert_eq!(table.queue, Some(queue));
        let used = &config.relays[0].tables[0];
        let cookie = used.cookie.as_ref().unwrap();
        assert_eq!(cookie.name, "SID");
        assert!(cookie.key.is_some());
        assert_eq!(used.mode, Mode::RoundRobin);
        round_trip(&config, options);
    }
}

#[test]
fn a_key_of_a_mode_is_still_a_key() {
    for (options, keyed, queued) in [
        ("mode hash queue", true, false),
        ("mode hash \"queue\" queue 5", true, true),
        ("mode hash queue 5", false, true),
        ("mode loadbalance slow", true, false),
        ("mode source-hash sticky", true, false),
    ] {
        let (config, messages) = load(&relay("http", options));
        assert_eq!(messages, [""; 0], "{options}");
        let config = config.unwrap();
        assert_eq!(config.relays[0].key.is_some(), keyed, "{options}");
        assert_eq!(config.tables[0].queue.is_some(), queued, "{options}");
        round_trip(&config, options);
    }
    let (config, _) = load(&relay("http", "sticky cookie A queue 5"));
    let config = config.unwrap();
    assert_eq!(
        config.relays[0].tables[0].cookie.as_ref().unwrap().key,
        None
    );
    assert_eq!(
        config.tables[0].queue.unwrap().wait,
        conf::limits::QUEUE_WAIT_DEFAULT
    );
    let hex = "sticky cookie A \"0x000102030405060708090a0b0c0d0e0f\"";
    let (config, _) = load(&relay("http", hex));
    let key = config.unwrap().relays[0].tables[0]
        .cookie
        .as_ref()
        .unwrap()
        .key;
    assert_eq!(key, Some(HashKey(std::array::from_fn(|i| i as u8))));
}

#[test]
fn mistakes_are_named() {
    let redirect = |options: &str| {
        format!(
            "table <t> {{ 127.0.0.1 }}\nredirect r {{\nlisten on 192.0.2.1 port 80\nforward to <t> check tcp {options}\n}}\n"
        )
    };
    for (text, expected) in [
        (relay("http", "slow 5"), "syntax error"),
        (relay("http", "slow start 0"), "invalid slow start: 0"),
        (relay("http", "queue 0"), "invalid queue: 0"),
        (relay("http", "queue 70000"), "invalid queue: 70000"),
        (relay("http", "queue 5 wait 4000"), "invalid wait: 4000"),
        (
            relay("http", "sticky cookie \"a b\""),
            "invalid cookie name: a b",
        ),
        (relay("http", "sticky cookie \"\""), "invalid cookie name: "),
        (relay("http", "sticky 5"), "syntax error"),
        (
            relay("tcp", "sticky cookie A"),
            "sticky cookie needs an http protocol",
        ),
        (
            redirect("sticky cookie A"),
            "sticky cookie not supported here",
        ),
    ] {
        let (config, messages) = load(&text);
        assert!(config.is_none(), "{text}");
        // A table whose only use is faulty counts as unused.
        assert!(messages[0].ends_with(expected), "{messages:?}");
    }
    for (text, expected) in [
        (
            redirect("slow start 5"),
            "warning: 'slow start' has no effect here",
        ),
        (redirect("queue 5"), "warning: 'queue' has no effect here"),
        (
            relay("udp", "queue 5"),
            "warning: 'queue' has no effect here",
        ),
    ] {
        let (config, messages) = load(&text);
        assert!(config.is_some(), "{text}: {messages:?}");
        assert_eq!(messages.len(), 1, "{text}: {messages:?}");
        assert!(messages[0].ends_with(expected), "{messages:?}");
    }
}

#[test]
fn a_table_with_other_options_is_another_instance() {
    let text = "table <t> { 127.0.0.1 }\nrelay a {\nlisten on 127.0.0.1 port 1\nforward to <t> port 80 queue 5\n}\n\
                relay b {\nlisten on 127.0.0.1 port 2\nforward to <t> port 80 queue 6\n}\n\
                relay c {\nlisten on 127.0.0.1 port 3\nforward to <t> port 80 queue 5\n}\n";
    let (config, messages) = load(text);
    assert_eq!(messages, [""; 0]);
    let config = config.unwrap();
    let tables: Vec<u32> = config.relays.iter().map(|r| r.tables[0].table.0).collect();
    assert_eq!(tables, [1, 2, 1]);
}
