//! Every message of the original's parser, where the same mistake is made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use support::{System, Text, lines};

/// A protocol block with one line, used by nobody.
fn protocol(kind: &str, line: &str) -> String {
    format!("table <t> {{ 127.0.0.1 }}\n{kind} protocol p {{\n{line}\n}}\n")
}

fn relay(lines: &str) -> String {
    format!("table <t> {{ 127.0.0.1 }}\nrelay r {{\nlisten on 127.0.0.1 port 1\n{lines}\n}}\n")
}

fn redirect(lines: &str) -> String {
    format!("table <t> {{ 127.0.0.1 }}\nredirect r {{\nlisten on 192.0.2.1 port 80\n{lines}\n}}\n")
}

fn router(lines: &str) -> String {
    format!("table <t> {{ 127.0.0.1 }}\nrouter r {{\n{lines}\n}}\n")
}

fn check(option: &str) -> String {
    relay(&format!("forward to <t> port 80 {option}"))
}

fn x(n: usize) -> String {
    "x".repeat(n)
}

/// Files with one mistake each, and the words of the original for it.
fn mistakes() -> Vec<(String, String)> {
    let long = x(1100);
    [
        (
            format!("agentx context \"{}\"\n", x(32)),
            "agentx context too long",
        ),
        (
            format!("agentx path \"{}\"\n", x(200)),
            "agentx path too long",
        ),
        ("interval -1\n".into(), "invalid interval: -1"),
        ("timeout -1\n".into(), "invalid timeout: -1"),
        (
            "prefork 65\n".into(),
            "invalid number of preforked relays: 65",
        ),
        (
            "interval 99999999999999999999\n".into(),
            "\"99999999999999999999\" invalid number: too large",
        ),
        (
            "\"a b\" = \"c\"\n".into(),
            "macro name cannot contain whitespace",
        ),
        ("interval $nope\n".into(), "macro 'nope' not defined"),
        (
            "include \"nope\"\ninclude\n".into(),
            "failed to include file nope",
        ),
        (
            "socket \"x\n".into(),
            "reached end of file while parsing quoted string",
        ),
        (format!("socket \"{}\"\n", x(9000)), "string too long"),
        (
            "table <t> { nosuch.example }\n".into(),
            "invalid host nosuch.example",
        ),
        (
            format!("table <t> {{ {} }}\n", x(256)),
            "host name truncated",
        ),
        (
            "table <t> { 127.0.0.1 }\ntable <t> { ::1 }\n".into(),
            "table t defined twice",
        ),
        ("table <t> disable\n".into(), "table t has no hosts"),
        (
            format!("table <{}> {{ 127.0.0.1 }}\n", x(64)),
            "invalid table name",
        ),
        (
            "table <t> { 127.0.0.1 retry 1 retry 1 }\n".into(),
            "retry value already set",
        ),
        (
            "table <t> { 127.0.0.1 retry -1 }\n".into(),
            "invalid retry value: -1",
        ),
        (
            "table <t> { 127.0.0.1 parent 1 parent 1 }\n".into(),
            "parent value already set",
        ),
        (
            "table <t> { 127.0.0.1 parent -1 }\n".into(),
            "invalid parent value: -1",
        ),
        (
            "table <t> { 127.0.0.1 priority 1 priority 1 }\n".into(),
            "priority already set",
        ),
        (
            "table <t> { 127.0.0.1 priority 64 }\n".into(),
            "invalid priority value: 64",
        ),
        (
            "table <t> { 127.0.0.1 ip ttl 1 ip ttl 1 }\n".into(),
            "ttl value already set",
        ),
        (
            "table <t> { 127.0.0.1 ip ttl -1 }\n".into(),
            "invalid ttl value: -1",
        ),
        (check("check nosuch"), "invalid check type: nosuch"),
        (check("check http \"/\" code 0"), "invalid HTTP code: 0"),
        (
            check("check http \"/\" digest \"00\""),
            "invalid http digest",
        ),
        (
            check(&format!("check send nothing expect \"{}\"", x(256))),
            "yyparse: expect buffer truncated",
        ),
        (
            check("check binary send \"\" expect \"00\""),
            "empty binary send data",
        ),
        (
            check("check binary send \"00\" expect \"\""),
            "empty binary expect data",
        ),
        (
            check("check binary send \"00\" expect \"zz\""),
            "failed in binary expect data buffer",
        ),
        (
            check(&format!(
                "check binary send \"00\" expect \"{}\"",
                "00".repeat(128)
            )),
            "expect buffer truncated",
        ),
        (
            check(&format!("check script \"{long}\"")),
            "script path truncated",
        ),
        (
            check("interval 7"),
            "table interval must be divisible by global interval",
        ),
        (check("timeout -1"), "invalid timeout: -1"),
        (
            check("demote abcdefghijklmnopq"),
            "yyparse: demote group name too long",
        ),
        (
            check("demote nosuch"),
            "yyparse: error initializing group 'nosuch'",
        ),
        (
            check("mode hash 0x00"),
            "hex key must be 128 bits (32 hex digits) long",
        ),
        (
            check(&format!("mode hash 0x{}", "zz".repeat(16))),
            "invalid hex key",
        ),
        (check("mode hash a mode hash b"), "key already specified"),
        (check("mode random a"), "key not supported by mode"),
        (check("mode least-states"), "mode not supported for relays"),
        (relay("forward to <nosuch> port 80"), "unknown table nosuch"),
        (relay("forward to <t> port 0"), "invalid port: 0"),
        (relay("forward to <t> port 1:2"), "invalid port"),
        (relay("forward to <t> port nosuch"), "unknown port nosuch"),
        (
            relay("listen on nosuch.example port 2"),
            "invalid listen ip: nosuch.example",
        ),
        (
            relay("listen on 192.0.2.99 port 2"),
            "no local listen ip: 192.0.2.99",
        ),
        (
            relay("forward to nosuch.example port 2"),
            "invalid forward ip: nosuch.example",
        ),
        (
            relay("forward to ::1 port 2 inet6 127.0.0.1"),
            "invalid ipv6 address 127.0.0.1",
        ),
        (relay("route to <t> port 80"), "no route for relays"),
        (relay("protocol nosuch"), "no such protocol: nosuch"),
        (
            relay("protocol default\nprotocol default"),
            "more than one protocol specified",
        ),
        (relay("session timeout -1"), "invalid timeout: -1"),
        (
            relay("session timeout 2147483648"),
            "timeout too large: 2147483648",
        ),
        (relay(""), "relay r has no target, rdr, or table"),
        (
            "relay r {\nforward to 127.0.0.1 port 1\n}\n".into(),
            "relay r has no listener",
        ),
        (
            relay("forward to 127.0.0.1 port 1\nforward to ::1 port 1"),
            "relay r target or redirection already specified",
        ),
        (
            relay("forward to nat lookup\nforward to destination"),
            "relay r with conflicting nat lookup and peer options",
        ),
        (
            relay("listen on 127.0.0.1 port 1\nforward to ::1 port 1"),
            "relay r or listener defined twice",
        ),
        (format!("relay {} {{\n}}\n", x(256)), "relay name truncated"),
        (
            format!("redirect {} {{\n}}\n", x(32)),
            &*format!("redirection name truncated: {}", x(32)),
        ),
        (redirect(""), "redirection r has no table"),
        (
            "table <t> { 127.0.0.1 }\nredirect r {\nforward to <t> port 80 check tcp\n}\n".into(),
            "redirection r has no virtual ip",
        ),
        (
            redirect("forward to <t> port 80"),
            "table t:80 has no check",
        ),
        (
            redirect(
                "forward to <t> check tcp\nforward to <t> check icmp\nforward to <t> check tls",
            ),
            "only one backup table is allowed",
        ),
        (
            redirect("forward to <t> port 80 check tcp\nforward to <t> port 81 check tcp"),
            "redirection r uses two different ports for its table and backup table",
        ),
        (
            redirect("forward to <t> check tcp\nforward to <t> mode random check tls"),
            "backup table for r with different mode",
        ),
        (
            redirect("forward to <t> mode loadbalance check tcp"),
            "mode not supported for redirections",
        ),
        (
            redirect("forward to <t> check tcp interface em0"),
            "superfluous interface",
        ),
        (
            redirect("route to <t> check tcp"),
            "missing interface to route to",
        ),
        (
            redirect(&format!("route to <t> check tcp interface {}", x(16))),
            "interface name truncated",
        ),
        (
            redirect("transparent forward to <t> check tcp"),
            "no transparent forward here",
        ),
        (
            redirect(&format!("pftag {}", x(64))),
            &*format!("redirection tag name truncated: {}", x(64)),
        ),
        (
            redirect("listen on nosuch.example port 80"),
            "invalid virtual ip: nosuch.example",
        ),
        (
            redirect("listen on 192.0.2.1 nosuch port 80"),
            "invalid protocol: nosuch",
        ),
        (
            format!(
                "{0}{0}",
                redirect("forward to <t> check tcp").replace("table <t> { 127.0.0.1 }\n", "")
            )
            .replacen("redirect", "table <t> { 127.0.0.1 }\nredirect", 1),
            "redirection r defined twice",
        ),
        (
            relay(&format!("forward to <{}> port 80", x(63)))
                .replace("<t>", &format!("<{}>", x(63))),
            "invalid table mame",
        ),
        (
            format!("table {} {{\nhost 127.0.0.1\n}}\n", x(64)),
            "table name truncated",
        ),
        (
            relay("listen on ::1 port 10000\nforward to ::1 port 1")
                .replace("relay r", &format!("relay {}", x(250))),
            "invalid relay name",
        ),
        ("bad protocol p { }\n".into(), "invalid protocol type: bad"),
        (
            format!("protocol {} {{ }}\n", x(64)),
            "protocol name truncated",
        ),
        (
            "protocol p { }\nprotocol p { }\n".into(),
            "protocol p defined twice",
        ),
        (
            "protocol default { }\n".into(),
            "protocol default defined twice",
        ),
        (
            protocol("tcp", "http headerlen 1"),
            "can set http options only for http protocol",
        ),
        (
            protocol("udp", "tcp nodelay"),
            "can set tcp options only for tcp or http protocols",
        ),
        (
            protocol("dns", "tls ciphers \"x\""),
            "can set tls options only for tcp or http protocols",
        ),
        (protocol("tcp", "tcp backlog 1025"), "invalid backlog: 1025"),
        (
            protocol("tcp", "tcp socket buffer -1"),
            "invalid socket buffer size: -1",
        ),
        (protocol("tcp", "tcp ip minttl -1"), "invalid ttl: -1"),
        (
            protocol("tcp", "tcp ip nosuch 1"),
            "invalid TCP/IP flag: nosuch",
        ),
        (
            protocol("http", "http headerlen 131073"),
            "invalid headerlen: 131073",
        ),
        (protocol("tcp", "tls nosuch"), "invalid TLS flag: nosuch"),
        (
            protocol("tcp", "tls { no tlsv1.2, no tlsv1.3 }"),
            "invalid TLS protocol",
        ),
        (
            protocol("tcp", &format!("tls ciphers \"{long}\"")),
            "tlsciphers truncated",
        ),
        (
            protocol("tcp", "tls ecdhe nosuch"),
            "tls ecdhe nosuch: invalid ecdhe curve 'nosuch'",
        ),
        (
            protocol(
                "tcp",
                &format!("tls ecdhe \"{}\"", vec!["P-256"; 22].join(",")),
            ),
            "tls ecdhe curves truncated",
        ),
        (
            protocol("tcp", "tls edh params nosuch"),
            "tls edh params nosuch: invalid dheparams param",
        ),
        (
            protocol("tcp", &format!("tls ca file \"{long}\"")),
            "tlsca truncated",
        ),
        (
            protocol("tcp", &format!("tls ca cert \"{long}\"")),
            "tlscacert truncated",
        ),
        (
            protocol("tcp", &format!("tls ca key \"{long}\" password \"\"")),
            "tlscakey truncated",
        ),
        (
            protocol("tcp", &format!("tls ca key \"x\" password \"{long}\"")),
            "tlscapass",
        ),
        (
            protocol("tcp", &format!("tls client ca \"{long}\"")),
            "tlsclientca truncated",
        ),
        (
            protocol("tcp", &format!("tls keypair \"{long}\"")),
            "keypair name too long",
        ),
        (
            protocol("tcp", &format!("tls keypair x cert \"{long}\"")),
            "keypair cert too long",
        ),
        (
            protocol("tcp", &format!("tls keypair x key \"{long}\"")),
            "keypair certificate key too long",
        ),
        (
            protocol("tcp", &format!("tls keypair x ocsp \"{long}\"")),
            "keypair ocsp file too long",
        ),
        (
            protocol("http", "pass from 10.0.0.0/33"),
            "invalid prefixlen 33",
        ),
        (
            protocol("http", "pass inet6 from 10.0.0.0/8"),
            "address family mismatch",
        ),
        (
            protocol("http", "pass method NOSUCH"),
            "unknown HTTP method currently not supported",
        ),
        (
            protocol("http", "match query set \"a\""),
            "combining query type and the given option is not supported",
        ),
        (
            protocol("http", "match url remove \"a\""),
            "combining url type and the given option is not supported",
        ),
        (
            protocol("http", "match path strip -1"),
            "invalid strip number",
        ),
        (
            protocol("http", "match response path \"a\""),
            "failed to load rule",
        ),
        (
            protocol("http", "match header file \"nosuch\""),
            "failed to load rules from nosuch",
        ),
        (
            protocol("http", "match url digest \"00\""),
            "invalid http digest",
        ),
        (
            protocol("http", "pass forward to <nosuch>"),
            "undefined forward table",
        ),
        (
            protocol("http", &format!("pass forward to <{}>", x(64))),
            "invalid forward table name",
        ),
        (
            protocol("http", "match header file \"keys\" cookie file \"keys\""),
            "only one file per rule supported",
        ),
        (protocol("http", "match tag a tag b"), "tag already defined"),
        (
            protocol("http", &format!("match tag {}", x(64))),
            "tag truncated",
        ),
        (protocol("http", "match tag \"\""), "invalid tag"),
        (protocol("http", "match no tag"), "no tag defined"),
        (
            protocol("http", "match tagged a tagged b"),
            "tagged already defined",
        ),
        (
            protocol("http", &format!("match tagged {}", x(64))),
            "tagged truncated",
        ),
        (
            protocol("http", "match label a label b"),
            "label already defined",
        ),
        (
            protocol("http", &format!("match label \"{}\"", x(1024))),
            "label truncated",
        ),
        (protocol("http", "match label \"\""), "invalid label"),
        (protocol("http", "match no label"), "no label defined"),
        (
            format!("router {} {{\n}}\n", x(256)),
            "router name truncated",
        ),
        (
            router("forward to <t> check icmp"),
            "router r without routes",
        ),
        (
            router("route 10.0.0.0/8\nroute 2001:db8::/32"),
            "router r address family mismatch",
        ),
        (
            router("forward to <t> check icmp\nforward to <t> check tcp"),
            "router r table already specified",
        ),
        (
            router("rtable 1\nrtable 2"),
            "router r rtable already specified",
        ),
        (router("rtable 256"), "invalid rtable id 256"),
        (
            router(&format!("rtlabel {}", x(32))),
            "route label truncated",
        ),
        (
            format!(
                "{0}{0}",
                router("route 10.0.0.0/8\nforward to <t> check icmp")
            )
            .replacen("table <t> { 127.0.0.1 }\n", "", 1),
            "unknown table t",
        ),
        (
            "router r {\n}\nrouter r {\n}\n".into(),
            "router r defined twice",
        ),
    ]
    .into_iter()
    .map(|(text, message): (String, &str)| (text, message.to_owned()))
    .collect()
}

#[test]
fn each_mistake_gets_the_words_of_the_original() {
    let cases = mistakes();
    let mut wrong = Vec::new();
    for (text, message) in &cases {
        let loaded = conf::load(Path::new("f"), &[], &OneFile(text), &System);
        let all: Vec<String> = loaded
            .diagnostics
            .list()
            .iter()
            .filter(|d| d.severity == conf::Severity::Error)
            .map(|d| {
                assert!(
                    d.cure.is_some() || d.text == "no actions, nothing to do",
                    "no cure: {}",
                    d.text
                );
                assert!(
                    d.span.is_some() || d.text == "no actions, nothing to do",
                    "no place: {}",
                    d.text
                );
                d.text.clone()
            })
            .collect();
        if loaded.config.is_some() || !all.contains(message) {
            let text: String = text.chars().take(200).collect();
            wrong.push(format!("{message}: got {all:?} for\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() > 120);
}

/// Only the main file exists.
struct OneFile<'a>(&'a str);

impl conf::Source for OneFile<'_> {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("f") => Ok(self.0.as_bytes().to_vec()),
            Some("keys") => Ok(b"a\nb\n".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

/// Whether a message is that of a pattern with `%s`, `%d`, `%lld`.
fn fits(pattern: &str, text: &str) -> bool {
    let pattern = pattern.replace("%lld", "%s").replace("%d", "%s");
    let mut parts = pattern.split("%s");
    let mut rest = match text.strip_prefix(parts.next().unwrap_or("")) {
        Some(rest) => rest,
        None => return false,
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

#[test]
fn every_message_of_the_table_is_said() {
    let mut files: Vec<String> = mistakes().into_iter().map(|(text, _)| text).collect();
    let tls =
        relay("forward to ::1 port 1").replace("127.0.0.1 port 1\n", "127.0.0.1 port 1 tls\n");
    files.extend([
        String::new(),
        format!("interval 1\ntimeout 5000\n{}", check("check tcp")),
        format!("m = \"x\"\nprotocol u {{ }}\n{}", relay("forward to ::1 port 1")),
        "table <t> { localhost parent 1 }\nrelay r {\nlisten on ::1 port 1\nforward to <t> port 80\n}\n".into(),
        tls.clone(),
        format!(
            "protocol p {{\ntls keypair k\n}}\n{}",
            tls.replace("forward", "protocol p\nforward")
        ),
    ]);
    let mut said: Vec<String> = Vec::new();
    for text in &files {
        let mut loaded = conf::load(Path::new("f"), &[], &OneFile(text), &System);
        loaded.check_certificates(&OneFile(text), true);
        for diagnostic in loaded.diagnostics.list() {
            let text = &diagnostic.text;
            said.push(text.clone());
            // Ours begins with a word that the original has not.
            said.extend(text.strip_prefix("warning: ").map(str::to_owned));
            // The resolver's own words are part of the cure.
            said.extend(diagnostic.cure.clone());
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/messages.md");
    let table = std::fs::read_to_string(path).unwrap();
    let (table, _) = table.split_once("## Not said").unwrap();
    let patterns: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |"))
        .collect();
    assert!(patterns.len() > 140, "{}", patterns.len());
    let missing: Vec<&&str> = patterns
        .iter()
        .filter(|pattern| !said.iter().any(|text| fits(pattern, text)))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

fn messages(text: &str) -> Vec<String> {
    lines(&conf::load(Path::new("f"), &[], &Text(text), &System))
}

#[test]
fn messages_about_the_whole_file() {
    assert_eq!(messages(""), ["no actions, nothing to do"]);
    let found = messages(&format!("interval 1\ntimeout 5000\n{}", check("check tcp")));
    assert_eq!(
        found,
        [
            "global timeout exceeds interval",
            "table timeout exceeds interval: t:80"
        ]
    );
    let found = messages(
        "table <t> { 127.0.0.1 parent 1 }\nrelay r {\nlisten on ::1 port 1\nforward to <t> port 80\n}\n",
    );
    assert_eq!(found, ["host parent id 1 invalid"]);
    let found = messages(&format!("protocol u {{ }}\n{}", check("check tcp")));
    assert_eq!(found, ["unused protocol: u"]);
}

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
