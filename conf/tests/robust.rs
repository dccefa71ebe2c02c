//! Whatever stands in the file: no panic, every place within the text, and what is accepted can be written back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use proptest::prelude::*;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use support::{Everywhere, Text, judge, lines};

fn corpus() -> Vec<String> {
    let mut texts = Vec::new();
    for directory in ["tests/oracle", "tests/seeds", "examples"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "conf") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    texts.sort();
    texts
}

fn check(text: &str) {
    judge(text.as_bytes());
}

/// A string with everything that quoting has to get right.
fn string() -> impl Strategy<Value = String> {
    "[a-c \\\\\"'$#/{}<>=,;:é\t-]{1,8}"
}

/// The string in quotes: what the lexer reads back need not be the string, but it is one.
fn quoted() -> impl Strategy<Value = String> {
    string().prop_map(|s| format!("\"{}x\"", s.replace('"', "\\\"")))
}

fn option() -> impl Strategy<Value = String> {
    prop_oneof![
        quoted().prop_map(|s| format!("check send {s} expect {s}")),
        quoted().prop_map(|s| format!("check send nothing expect {s} tls")),
        quoted().prop_map(|s| format!("check send escaped {s} expect {s}")),
        quoted().prop_map(|s| format!("check http {s} host {s} code 200")),
        quoted().prop_map(|s| format!("check script {s}")),
        Just("check binary send \"00ff\" expect \"0a\"".to_owned()),
        Just("check icmp".to_owned()),
        Just("check tcp".to_owned()),
        (1u32..3).prop_map(|n| format!("check tcp timeout {}", n * 100)),
        (1u32..3).prop_map(|n| format!("check tcp interval {}", n * 10)),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let action = prop_oneof![Just("pass"), Just("block"), Just("match")];
    let legacy = prop_oneof![4 => Just(""), 1 => Just("legacy"), 1 => Just("legacy expect"), 1 => Just("legacy filter")];
    let op = prop_oneof![
        Just(""),
        Just("append"),
        Just("set"),
        Just("remove"),
        Just("hash"),
        Just("log")
    ];
    let end = prop_oneof![
        Just(""),
        Just("tag \"t\""),
        Just("tagged \"t\""),
        Just("path strip 2"),
        Just("forward to <t1>"),
        Just("method \"GET\"")
    ];
    (action, legacy, any::<bool>(), op, quoted(), quoted(), end).prop_map(
        |(action, legacy, response, op, key, value, end)| {
            let direction = if response { "response" } else { "request" };
            // Responses have no path.
            let end = if response && end.starts_with("path") { "" } else { end };
            format!("\t{action} {direction} {legacy} header {op} {key} value {value} {end} label {value}\n")
        },
    )
}

/// A configuration of tables, redirects, relays and routers in any order, which share tables or do not.
fn configuration() -> impl Strategy<Value = String> {
    let block = (0u8..4, 0usize..3, 0usize..3, option(), option(), 80u16..84);
    (
        proptest::collection::vec(block, 1..8),
        proptest::collection::vec(rule(), 0..6),
        any::<bool>(),
    )
        .prop_map(|(blocks, rules, disable)| {
            let mut text = String::from(
                "table <t0> { 10.0.0.1 retry 2, 10.0.0.2 weight 3 }\ntable <t1> { fe80::1%2 priority 7 }\n",
            );
            text += if disable { "table <t2> disable { ::1 }\n" } else { "table <t2> { ::1 max connections 4 }\n" };
            text += "http protocol \"web\" {\n\thttp { headerlen 100, no pool }\n\ttls { no tlsv1.2, keypair \"a b\" }\n";
            text += &rules.concat();
            text += "}\n";
            for (index, (kind, a, b, one, two, port)) in blocks.into_iter().enumerate() {
                text += &match kind {
                    0 => format!("redirect r{index} {{\n listen on 192.0.2.1 udp port {port}:90 pflog\n forward to <t{a}> {one}\n sticky-address\n}}\n"),
                    1 => format!("redirect r{index} {{\n listen on 192.0.2.1 port {port} interface em0\n route to <t{a}> port {port} {one} mode source-hash k interface em1\n route to <t{b}> port {port} {two} mode source-hash k interface em1\n}}\n"),
                    2 => format!("relay r{index} {{\n listen on 127.0.0.1 port {} tls\n listen on ::1 port {} proxy-protocol\n protocol web\n forward with tls to <t{a}> port {port} {one} mode loadbalance\n forward to <t{b}> port 99 {two} inet6 64:ff9b:: proxy-protocol v2\n forward to destination retry 3\n}}\n", 1000 + index, 1000 + index),
                    _ => format!("router r{index} {{\n route 10.{index}.0.0/16\n forward to <t{a}> {one}\n rtlabel {b}x\n disable\n}}\n"),
                };
            }
            text
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        check(&text);
    }

    #[test]
    fn any_tokens(words in proptest::collection::vec(prop_oneof![
        2 => proptest::sample::select(conf::keywords::KEYWORDS).prop_map(str::to_owned),
        1 => proptest::sample::select(conf::keywords::EXTENSIONS).prop_map(str::to_owned),
        1 => proptest::sample::select(&["{", "}", "<t>", "\n", "\"x\"", "10.0.0.1", "80", ",", "service", "ssl", "change", "filter", "legacy", "="][..]).prop_map(str::to_owned),
    ], 0..60)) {
        check(&words.join(" "));
    }

    #[test]
    fn files_with_bytes_cut_out_and_put_in(index in any::<proptest::sample::Index>(), from in any::<proptest::sample::Index>(), cut in 0usize..20, put in "[ \n{}<>\"a1/=$#\\\\]{0,4}") {
        let corpus = corpus();
        let text = index.get(&corpus);
        let chars: Vec<char> = text.chars().collect();
        let from = from.index(chars.len() + 1);
        let to = (from + cut).min(chars.len());
        let text: String = chars[..from].iter().collect::<String>() + &put + &chars[to..].iter().collect::<String>();
        check(&text);
    }

    #[test]
    fn generated_configurations(text in configuration()) {
        let loaded = conf::load(Path::new("x.conf"), &[], &Text(&text), &Everywhere);
        prop_assert!(loaded.config.is_some(), "{text}\n{:#?}", lines(&loaded));
        check(&text);
    }
}

#[test]
fn all_files_of_the_tests_and_examples() {
    for text in corpus() {
        check(&text);
    }
}

/// What the fuzzer starts from, and what it found worth keeping.
#[test]
fn all_files_of_the_fuzzers_corpus() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/conf");
    let mut count = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        judge(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 100, "{count}");
}

#[test]
fn a_thousand_mistakes_are_one_list() {
    let text = "bad line\n".repeat(1000);
    let loaded = conf::load(Path::new("x.conf"), &[], &Text(&text), &Everywhere);
    assert!(loaded.config.is_none());
    assert_eq!(loaded.diagnostics.list().len(), 100);
    assert_eq!(loaded.diagnostics.dropped, 900);
    assert_eq!(lines(&loaded)[99], "x.conf:100: syntax error");
    let many = "relay r {\n\tforward to <nosuch> check tcp\n}\n".repeat(1000);
    let loaded = conf::load(Path::new("x.conf"), &[], &Text(&many), &Everywhere);
    assert!(loaded.diagnostics.errors() > 1000);
}

#[test]
fn old_statements_beyond_the_list_are_no_error() {
    let text = format!(
        "{}relay r {{\n listen on 127.0.0.1 port 1\n forward to 127.0.0.1 port 2\n}}\n",
        "log all\n".repeat(500)
    );
    let loaded = conf::load(Path::new("x.conf"), &[], &Text(&text), &Everywhere);
    assert!(loaded.config.is_some());
    assert_eq!(loaded.diagnostics.dropped, 400);
}

struct Files(HashMap<&'static str, Vec<u8>>);

impl conf::Source for Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let name = path.to_str().unwrap();
        self.0
            .get(name)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn first(files: &[(&'static str, &[u8])]) -> (String, String) {
    let files = Files(files.iter().map(|(n, t)| (*n, t.to_vec())).collect());
    let loaded = conf::load(Path::new("a.conf"), &[], &files, &Everywhere);
    assert!(loaded.config.is_none());
    let diagnostic = &loaded.diagnostics.list()[0];
    (
        diagnostic.line(&loaded.sources),
        diagnostic.cure.clone().unwrap_or_default(),
    )
}

#[test]
fn unreadable_empty_binary_gigantic_and_endless_files() {
    assert!(first(&[]).0.starts_with("pushfile: a.conf: "));
    assert_eq!(first(&[("a.conf", b"")]).0, "no actions, nothing to do");
    assert_eq!(
        first(&[("a.conf", b"\x00\x01\xff")]).0,
        "a.conf:1: syntax error"
    );
    let gigantic = vec![b'#'; usize::try_from(conf::limits::FILE_MAX).unwrap() + 1];
    assert_eq!(
        first(&[("a.conf", &gigantic)]).0,
        "pushfile: a.conf: larger than 64 MiB"
    );
    let (line, cure) = first(&[
        ("a.conf", b"include \"b.conf\"\n"),
        ("b.conf", b"\ninclude \"a.conf\"\n"),
    ]);
    assert_eq!(line, "b.conf:2: failed to include file a.conf");
    assert!(cure.contains("a.conf -> b.conf -> a.conf"), "{cure}");
    let long = format!("interval \"{}\"\n", "x".repeat(9000));
    assert_eq!(
        first(&[("a.conf", long.as_bytes())]).0,
        "a.conf:1: string too long"
    );
    let deep = "redirect r {\n".repeat(100_000);
    assert_eq!(
        first(&[("a.conf", deep.as_bytes())]).0,
        "a.conf:2: syntax error"
    );
}
