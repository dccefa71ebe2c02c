//! Statements of older releases: accepted, with their own meaning, one warning each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use conf::Config;
use conf::model::{Change, Check, KeyKind, KeyOp, Legacy, Mode, Pattern, ProtocolKind, Target};
use std::path::Path;
use std::time::Duration;
use support::{Everywhere, Text, lines, round_trip};

fn read(text: &str) -> (Config, Vec<String>) {
    let loaded = conf::load(Path::new("f"), &[], &Text(text), &Everywhere);
    let messages = lines(&loaded);
    let config = loaded
        .config
        .unwrap_or_else(|| panic!("refused: {messages:#?}"));
    round_trip(&config, text);
    (config, messages)
}

const HOSTSTATED: &str = r#"
ext=192.0.2.1
smtp_port=25
interval 10
log all
table web {
	check http /index.html code 200
	timeout 300
	real port 8080
	host 10.0.0.1 retry 2
	host 10.0.0.2
	demote carp
}
table spare {
	real port 8080
	check send "HELO\r\n" expect "250*"
	host 10.0.0.9
	disable
}
service www {
	virtual host $ext port http interface em0
	virtual host 192.0.2.2 port 80
	table web
	backup table spare
	tag WWW
	sticky-address
}
protocol http-proto {
	protocol http
	url filter "evil*" from "q"
	cookie mark "yes" from "sid"
	header remove "X" marked
	header expect "www.example.com" from "Host" log
	tcp { nodelay, sack, backlog 600 }
}
relay front {
	listen on 192.0.2.3 port 8000 ssl
	protocol http-proto
	table web port 8081
	table spare roundrobin no check
	timeout 60
}
relay plain {
	listen on 192.0.2.3 port $smtp_port
	service www retry 3
}
relay natted {
	listen on 192.0.2.3 port 8001
	nat lookup retry 2
}
"#;

#[test]
fn hoststated() {
    let (config, messages) = read(HOSTSTATED);
    assert_eq!(config.globals.prefork, 5);
    let log = config.globals.log;
    assert!(log.state_changes && log.host_checks && log.connection);
    let redirect = &config.redirects[0];
    assert_eq!(redirect.listeners.len(), 2);
    assert_eq!(redirect.listeners[0].interface.as_deref(), Some("em0"));
    assert_eq!(redirect.tag.as_ref().unwrap().name, "WWW");
    assert!(redirect.sticky && redirect.backup.is_some());
    let web = config.table(redirect.table).unwrap();
    assert_eq!((web.name.as_str(), web.port), ("web:8080", 8080));
    assert_eq!(web.timeout, Duration::from_millis(300));
    assert_eq!(web.demote.as_deref(), Some("carp"));
    assert_eq!(web.hosts[0].retry, 2);
    let Check::HttpCode { request, code } = &web.check else {
        panic!("{:?}", web.check);
    };
    assert_eq!((request.path.as_str(), *code), ("/index.html", 200));
    let spare = config.table(redirect.backup.unwrap()).unwrap();
    assert!(spare.disabled);
    let Check::SendExpect { send, .. } = &spare.check else {
        panic!("{:?}", spare.check);
    };
    assert_eq!(send.as_deref(), Some("HELO\r\n"));

    let front = &config.relays[0];
    assert!(front.listen.tls);
    assert_eq!(front.session_timeout, Duration::from_secs(60));
    assert_eq!(front.tables[0].mode, Mode::LoadBalance);
    assert_eq!(front.tables[1].mode, Mode::RoundRobin);
    let table = |i: usize| config.table(front.tables[i].table).unwrap();
    assert_eq!(table(0).name, "web:8081");
    assert_eq!(table(1).check, Check::None);
    assert_eq!(
        config.relays[1].target,
        Target::Address {
            address: redirect.listeners[0].address,
            port: 80
        }
    );
    assert_eq!(config.relays[1].retry, 3);
    assert_eq!(config.relays[2].target, Target::NatLookup(None));

    let protocol = &config.protocols[1];
    assert_eq!(protocol.kind, ProtocolKind::Http);
    assert_eq!(protocol.tcp.backlog, 512);
    let rules = &protocol.rules;
    assert_eq!(rules.len(), 5);
    assert_eq!(rules[0].keys[0].kind, KeyKind::Query);
    assert_eq!(rules[0].legacy, Some(Legacy::Filter));
    assert_eq!(rules[1].tag, Change::Set("1".to_owned()));
    assert_eq!(rules[2].tagged.as_deref(), Some("1"));
    assert_eq!(rules[3].legacy, Some(Legacy::Expect));
    assert_eq!(rules[4].keys[0].op, KeyOp::Log);
    assert!(
        messages.iter().all(|m| m.contains("warning: old syntax: ")),
        "{messages:#?}"
    );
    // An address is a string: only the number needs quotes today.
    assert!(
        !messages.iter().any(|m| m.starts_with("f:2: ")),
        "{messages:#?}"
    );
    assert!(
        messages
            .contains(&"f:3: warning: old syntax: a number without quotes as a macro".to_owned())
    );
}

const EARLY: &str = r#"
snmp trap "/var/agentx/sock"
send trap
demote carp
log updates
table <web> { 10.0.0.1, 10.0.0.2 }
http protocol p {
	ssl { sslv2, no sslv3, tlsv1, session cache 100, ecdh curve secp384r1, edh params 1024, ciphers "HIGH:!ADH" }
	label "first"
	request header filter "bad*" from "User-Agent"
	no label
	query mark "gold" from "class" with 7 log
	response cookie append "v" to "k" marked 7
	request path expect "/index.html"
	url expect digest "0ac8ccfc03317891ae2820de10ee2167d31ebd16"
	header hash "Host"
	header log "Referer"
	query append "a" to "b"
}
redirect r {
	listen on 192.0.2.1 port 80
	match tag 17
	forward to <web> check ssl
}
relay a {
	listen on 192.0.2.1 port 443 ssl
	protocol p
	transparent forward with ssl to <web> port 80 check send nothing expect "x" ssl interface em0
	forward timeout 30
}
"#;

#[test]
fn relayd_4_3_to_5_6() {
    let (config, messages) = read(EARLY);
    assert_eq!(config.globals.prefork, 5);
    let agentx = config.globals.agentx.as_ref().unwrap();
    assert_eq!(agentx.path, Path::new("/var/agentx/sock"));
    assert_eq!(config.globals.demote.as_deref(), Some("carp"));
    assert!(config.globals.trap);
    let log = config.globals.log;
    assert!(log.state_changes && log.connection && !log.host_checks);
    let tag = config.redirects[0].tag.as_ref().unwrap();
    assert!(tag.match_only && tag.name == "17");
    let relay = &config.relays[0];
    assert!(relay.listen.tls && relay.tls_client && relay.transparent);
    assert_eq!(relay.session_timeout, Duration::from_secs(30));
    assert_eq!(relay.tables[0].mode, Mode::LoadBalance);
    let protocol = &config.protocols[1];
    assert_eq!(protocol.tls.ecdhe, "secp384r1");
    assert_eq!(protocol.tls.edh, "auto");
    let rules = &protocol.rules;
    assert_eq!(rules.len(), 8, "{rules:#?}");
    assert_eq!(rules[0].label, Change::Set("first".to_owned()));
    assert_eq!(rules[1].label, Change::Keep);
    assert_eq!(rules[1].tag, Change::Set("7".to_owned()));
    assert_eq!(rules[2].keys[0].op, KeyOp::Log);
    assert_eq!(rules[3].legacy, Some(Legacy::Append));
    assert_eq!(rules[3].tagged.as_deref(), Some("7"));
    assert_eq!(rules[3].keys[0].pattern, Pattern::One("k".to_owned()));
    assert_eq!(rules[3].keys[0].value.as_deref(), Some("v"));
    assert!(matches!(rules[5].keys[0].pattern, Pattern::Digest(_)));
    let old = |m: &&String| m.contains("warning: old syntax: ");
    let new: Vec<&String> = messages.iter().filter(|m| !old(m)).collect();
    let agentx = "f:2: warning: agentx has no effect: no SNMP master agent is spoken to";
    assert_eq!(new, [agentx], "{messages:#?}");
    // Every old line has its warning.
    for line in [
        2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 22, 23, 26, 28, 29,
    ] {
        let place = format!("f:{line}: ");
        assert!(
            messages.iter().any(|m| m.starts_with(&place)),
            "no warning for line {line}: {messages:#?}"
        );
    }
}

#[test]
fn an_old_statement_names_its_modern_form() {
    let text = "http protocol p {\nheader append \"$REMOTE_ADDR\" to \"X-Forwarded-For\"\n}\nrelay r {\nlisten on ::1 port 1\nprotocol p\nforward to ::1 port 2\n}\n";
    let loaded = conf::load(Path::new("f"), &[], &Text(text), &Everywhere);
    let cures: Vec<&str> = loaded
        .diagnostics
        .list()
        .iter()
        .filter_map(|d| d.cure.as_deref())
        .collect();
    assert_eq!(
        cures,
        [
            "today: 'match request header append \"X-Forwarded-For\" value \"$REMOTE_ADDR\"'",
            "today: prefork 5"
        ]
    );
}

#[test]
fn files_of_today_keep_the_prefork_of_today() {
    let (config, messages) =
        read("relay r {\nlisten on ::1 port 1 ssl\nforward to ::1 port 2\n}\n");
    assert_eq!(config.globals.prefork, 3);
    assert_eq!(messages, ["f:2: warning: old syntax: ssl"]);
}

#[test]
fn mistakes_in_old_statements_are_errors() {
    for (text, message) in [
        ("table t {\n127.0.0.1\n}\n", "f:2: syntax error"),
        ("table t {\ncheck tcp\n}\n", "f:3: table t has no hosts"),
        ("service s {\ntable nope\n}\n", "f:2: unknown table nope"),
        (
            "relay r {\nlisten on ::1 port 1\nservice s\n}\n",
            "f:3: no such service: s",
        ),
        (
            "http protocol p {\nheader change \"a\"\n}\n",
            "f:2: syntax error",
        ),
        (
            "http protocol p {\nheader frob \"a\"\n}\n",
            "f:2: syntax error",
        ),
        (
            "http protocol p {\nheader mark \"a\" with 65536\n}\n",
            "f:2: invalid mark: 65536",
        ),
        (
            "protocol p {\nprotocol nope\n}\n",
            "f:2: invalid protocol type: nope",
        ),
    ] {
        let loaded = conf::load(Path::new("f"), &[], &Text(text), &Everywhere);
        assert!(loaded.config.is_none());
        assert!(
            lines(&loaded).contains(&message.to_owned()),
            "{text}: {:#?}",
            lines(&loaded)
        );
    }
}
