//! Ids stay with their objects over a reload, whatever stands around them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use conf::Config;
use std::path::Path;

fn load(text: &str) -> Config {
    let loaded = conf::load(
        Path::new("x.conf"),
        &[],
        &support::Text(text),
        &support::System,
    );
    let lines: Vec<_> = loaded
        .diagnostics
        .list()
        .iter()
        .map(|d| d.render(&loaded.sources, false))
        .collect();
    loaded
        .config
        .unwrap_or_else(|| panic!("{}", lines.join("\n")))
}

const OLD: &str = r#"
table <web> { 10.0.0.1, 10.0.0.2, 10.0.0.3 parent 1 }
table <spare> { 10.0.0.9 }
http protocol "h" { return error }
relay "www" {
	listen on 127.0.0.1 port 80
	listen on 127.0.0.1 port 81
	protocol "h"
	forward to <web> port 8080 check tcp
	forward to <spare> port 8080 check tcp
}
redirect "dns" {
	listen on 127.0.0.1 udp port 53
	forward to <spare> check icmp
}
"#;

#[test]
fn nothing_changed_is_nothing() {
    let old = load(OLD);
    let mut new = load(OLD);
    conf::keep_ids(&old, &mut new);
    assert_eq!(old, new);
    assert!(conf::diff(&old, &new).is_empty());
}

#[test]
fn ids_follow_names_when_objects_come_and_go_before_them() {
    let old = load(OLD);
    let text = OLD
        .replace("table <web> { 10.0.0.1, 10.0.0.2, 10.0.0.3 parent 1 }",
            "table <new> { 10.0.0.7 }\ntable <web> { 10.0.0.4, 10.0.0.2, 10.0.0.1 }")
        .replace("redirect \"dns\"", "relay \"first\" {\nlisten on 127.0.0.1 port 99\nforward to <new> port 1 check tcp\n}\nredirect \"dns\"")
        .replace("listen on 127.0.0.1 port 80\n", "");
    let mut new = load(&text);
    conf::keep_ids(&old, &mut new);
    let host = |config: &Config, table: &str, name: &str| {
        let table = config.tables.iter().find(|t| t.name == table).unwrap();
        table.hosts.iter().find(|h| h.name == name).unwrap().id
    };
    for name in ["10.0.0.1", "10.0.0.2"] {
        assert_eq!(host(&old, "web:8080", name), host(&new, "web:8080", name));
    }
    let known: Vec<_> = old
        .tables
        .iter()
        .flat_map(|t| &t.hosts)
        .map(|h| h.id)
        .collect();
    assert!(!known.contains(&host(&new, "web:8080", "10.0.0.4")));
    assert!(!known.contains(&host(&new, "new:1", "10.0.0.7")));
    let diff = conf::diff(&old, &new);
    assert_eq!(
        diff.redirects.changed.len() + diff.redirects.removed.len(),
        0
    );
    assert_eq!(diff.tables.added.len(), 1);
    assert_eq!(diff.tables.changed.len(), 1);
    assert_eq!(diff.relays.added.len(), 1);
    assert_eq!(diff.relays.removed.len(), 1);
}

#[test]
fn a_changed_protocol_changes_its_relays() {
    let old = load(OLD);
    let mut new = load(&OLD.replace("return error", "return error style \"a\""));
    conf::keep_ids(&old, &mut new);
    let diff = conf::diff(&old, &new);
    assert_eq!(diff.relays.changed.len(), 2);
    assert_eq!(diff.protocols.changed.len(), 1);
    assert_eq!(diff.to_string(), "0 added, 3 changed, 0 removed");
}
