//! Warnings, suggestions, and the excerpt below a message.

use crate::mistakes::*;
use crate::support::{self, System, Text, lines};
use std::path::Path;

fn warnings(text: &str) -> Vec<(String, String)> {
    let loaded = conf::load(Path::new("f"), &[], &Text(text), &System);
    assert!(loaded.config.is_some(), "{:#?}", lines(&loaded));
    loaded
        .diagnostics
        .list()
        .iter()
        .map(|d| (d.line(&loaded.sources), d.cure.clone().unwrap_or_default()))
        .collect()
}

#[test]
fn warnings_of_what_has_no_effect() {
    let http = |rules: &str, relay: &str| {
        format!(
            "table <t> {{ 127.0.0.1 }}\ntable <u> {{ ::1 }}\nm = \"x\"\nhttp protocol p {{\n{rules}\n}}\nrelay r {{\nlisten on 127.0.0.1 port 1{relay}\nprotocol p\nforward to <t> port 80 check tcp\n}}\n"
        )
    };
    let found = warnings(&http("pass quick\nblock path \"/x\"\nblock response", ""));
    let texts: Vec<&str> = found.iter().map(|(t, _)| t.as_str()).collect();
    assert_eq!(
        texts,
        [
            "f:6: warning: this rule is never reached",
            "f:2: warning: unused table: u",
            "f:3: warning: macro 'm' not used"
        ]
    );
    assert!(found[0].1.contains("line 5"));
    let found = warnings(&http(
        "pass forward to <u>\ntls { keypair k, ca file \"c\" }",
        "",
    ));
    assert_eq!(
        found[0].0,
        "f:5: warning: no relay forwards to <u>: this has no effect"
    );
    assert!(
        found
            .iter()
            .any(|(t, _)| t == "f:6: warning: TLS options without effect: all of p")
    );
    let found = warnings(&http("tls { tlsv1.0, ca file \"c\" }", " tls"));
    assert_eq!(
        found[0].0,
        "f:5: warning: TLS option without effect: tlsv1.0"
    );
    assert!(found.iter().any(|(t, _)| t.contains("ca file of p")));
    let found = warnings(&format!("agentx\n{}", check("check tcp")));
    assert_eq!(
        found[0].0,
        "f:1: warning: agentx has no effect: no SNMP master agent is spoken to"
    );
    assert!(found[0].1.contains("Prometheus"));
    let found = warnings(&check("check tcp timeout 0"));
    assert_eq!(
        found[0].0,
        "warning: the checks of table t:80 cannot succeed"
    );
    let found = warnings(&redirect(
        "forward to <t> check tcp\nlisten on 192.0.2.2 port 80 interface em00",
    ));
    assert_eq!(
        found[0].0,
        "f:5: warning: no interface 'em00' on this system"
    );
    assert_eq!(found[0].1, "did you mean 'em0'?");
    let tcp = "protocol p {\npass\n}\nrelay r {\nlisten on ::1 port 1\nprotocol p\nforward to ::1 port 2\n}\n";
    assert_eq!(
        warnings(tcp)[0].0,
        "f:2: warning: rules have no effect outside http protocols"
    );
}

/// What was warned of as useless is not written back: the rewritten file has nothing to warn of.
#[test]
fn what_has_no_effect_leaves_no_trace() {
    let relay = |tls: &str, with: &str| {
        format!(
            "relay r {{\nlisten on 127.0.0.1 port 1{tls}\nprotocol p\nforward{with} to ::1 port 2\n}}\n"
        )
    };
    let block = |lines: &str| format!("http protocol u {{ }}\nhttp protocol p {{\n{lines}\n}}\n");
    for (options, tls, with, count) in [
        ("pass quick\nblock path \"/x\"\nblock response", "", "", 2),
        ("tls { ciphers \"HIGH\", keypair k }", "", "", 2),
        ("ssl { ciphers \"HIGH\" }", "", "", 3),
        ("tls { keypair k, session tickets }", "", " with tls", 2),
        ("tls ca file \"c\"", " tls", "", 2),
        ("tls ca cert \"c\"", " tls", " with tls", 2),
        (
            "tls { ca cert \"c\", ca key \"k\" password \"\" }",
            " tls",
            "",
            2,
        ),
    ] {
        let text = block(options) + &relay(tls, with);
        let loaded = conf::load(Path::new("f"), &[], &Text(&text), &System);
        // One is about the protocol that nobody uses.
        assert_eq!(lines(&loaded).len(), count, "{text}{:#?}", lines(&loaded));
        let config = loaded.config.unwrap();
        assert_eq!(config.protocols.len(), 2);
        support::round_trip(&config, &text);
    }
}

#[test]
fn near_words_are_suggested() {
    for (text, cure) in [
        ("tabel <t> { ::1 }\n", "did you mean 'table'?"),
        (
            "table <web> { ::1 }\nrelay r {\nlisten on ::1 port 1\nforward to <wbe> port 1\n}\n",
            "did you mean <web>?",
        ),
        (
            "http protocol shop { }\nrelay r {\nprotocol shpo\n}\n",
            "did you mean \"shop\"?",
        ),
        (
            "addr = \"::1\"\ntable <t> { $adr }\n",
            "did you mean $addr?",
        ),
        (
            "relay r {\nlisten on em1x port 1\n}\n",
            "did you mean interface 'em1'?",
        ),
        (
            "relay r {\nlisten on ::1 port 1\nsesion timeout 3\n}\n",
            "did you mean 'session'?",
        ),
        ("htp protocol p { }\n", "did you mean 'http'?"),
        ("protocol p {\ntls tlsv1.22\n}\n", "did you mean 'tlsv1.2'?"),
    ] {
        let loaded = conf::load(Path::new("f"), &[], &Text(text), &System);
        let found = loaded
            .diagnostics
            .list()
            .iter()
            .any(|d| d.cure.as_deref().is_some_and(|c| c.contains(cure)));
        assert!(found, "{cure}: {:#?}", loaded.diagnostics);
    }
}

#[test]
fn the_excerpt_marks_the_place_and_the_first_line_is_the_originals() {
    let text = "table <t> { 127.0.0.1 }\nrelay r {\n\tlisten on 127.0.0.1 port 1\n\tforward to <nope> port 80\n}\n";
    let loaded = conf::load(Path::new("f"), &[], &Text(text), &System);
    let diagnostic = &loaded.diagnostics.list()[0];
    let rendered = diagnostic.render(&loaded.sources, false);
    let lines: Vec<&str> = rendered.lines().collect();
    assert_eq!(lines[0], "f:4: unknown table nope");
    assert!(
        lines
            .iter()
            .any(|l| l.contains("forward to <nope> port 80")),
        "{rendered}"
    );
    assert!(
        lines.iter().any(|l| l.contains("^^^^^^ define it before")),
        "{rendered}"
    );
    assert!(diagnostic.render(&loaded.sources, true).contains('\u{1b}'));
    assert!(!rendered.contains('\u{1b}'));
    let place = diagnostic.place(&loaded.sources).unwrap();
    assert_eq!(
        (place.line, place.column, place.end_line, place.end_column),
        (4, 13, 4, 19)
    );
}
