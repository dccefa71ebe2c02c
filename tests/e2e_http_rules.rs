//! Rules of http protocols: each key, action and condition of relayd.conf(5) with the real daemon, in both directions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use support::client::Http;
use support::servers::Speech;
use support::{Daemon, Scratch, Server, port};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What every request here says besides its first line.
const FIELDS: &str =
    "Host: www.example.com\r\nX-Test: yes\r\nX-Test: no\r\nCookie: sid=7; theme=\"Dark\"\r\n";

/// What the server says in every response before its body, which is the request's head.
const ANSWER: &str = "Server: mirror\r\nX-One: 1\r\nX-One: 2\r\nSet-Cookie: sid=7; Path=/\r\n";

/// A server that shows what it was asked. It ends with the process.
fn mirror() -> u16 {
    let at = port();
    let listener = TcpListener::bind(local(at)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut out = stream.try_clone().ok()?;
                let mut input = BufReader::new(stream);
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if input.read_line(&mut head).ok()? == 0 {
                            return None;
                        }
                    }
                    let length = head.len();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\n{ANSWER}Content-Length: {length}\r\n\r\n{head}"
                    );
                    if out.write_all(answer.as_bytes()).is_err() {
                        return None::<()>;
                    }
                }
            });
        }
    });
    at
}

/// A relay for each set of rules, all in one daemon.
struct Relays {
    daemon: Daemon,
    ports: Vec<u16>,
}

impl Relays {
    fn start(rules: &[&str]) -> Relays {
        let (server, ports) = (mirror(), rules.iter().map(|_| port()).collect::<Vec<_>>());
        let mut config = "prefork 1\nlog connection\n".to_owned();
        for (number, (rules, at)) in rules.iter().zip(&ports).enumerate() {
            write!(
                config,
                "http protocol p{number} {{
	return error
	{rules}
}}
relay r{number} {{
	listen on 127.0.0.1 port {at}
	protocol p{number}
	forward to 127.0.0.1 port {server}
}}
"
            )
            .unwrap();
        }
        let daemon = Daemon::start(&config);
        daemon.wait_line(&format!("running relay r{}", rules.len() - 1));
        Relays { daemon, ports }
    }

    /// Status, and both heads: the request's as the server got it, then the response's.
    fn ask(&self, number: usize, request: &str) -> (u16, String) {
        let mut client = Http::connect(local(self.ports[number])).unwrap();
        let bytes = format!("{request} HTTP/1.1\r\n{FIELDS}Connection: close\r\n\r\n");
        client.send(bytes.as_bytes()).unwrap();
        let answer = client.answer("GET").unwrap();
        (answer.status, answer.body + &answer.head)
    }
}

const REQUEST: &str = "GET /a/b?x=1&y=Two";

#[test]
fn conditions_of_every_kind_decide() {
    // Whether the request passes.
    let cases: &[(&str, bool)] = &[
        ("block header \"X-Test\" value \"y*\"", false),
        ("block header \"X-Test\" value \"Y*\"", true),
        ("block header \"X-T*\"", false),
        ("block header \"X-None\"", true),
        ("block cookie \"SID\" value \"7\"", false),
        ("block cookie \"theme\" value \"dark\"", false),
        ("block cookie \"none\"", true),
        ("block query \"y\" value \"T*\"", false),
        ("block query \"Y\"", true),
        ("block path \"/a/*\"", false),
        ("block path \"/A/*\"", true),
        ("block path \"/a/b\" value \"X=1*\"", false),
        ("block path \"/a/b\" value \"none\"", true),
        ("block url \"Example.com/a/\"", false),
        ("block url \"www.example.com/a/b?x=1&y=Two\"", false),
        ("block url \"example.com/b/\"", true),
        ("block method \"GET\"", false),
        ("block method \"POST\"", true),
        ("block inet", false),
        ("block inet6", true),
        ("block from 127.0.0.0/8", false),
        ("block from 10.0.0.0/8", true),
        ("block inet from 127.0.0.1 to 127.0.0.1", false),
        ("block to 127.0.0.2", true),
        // All keys of a rule must hold, the last rule decides, and quick ends it.
        ("block header \"X-Test\" path \"/none\"", true),
        ("block header \"X-Test\" path \"/a/*\" query \"x\"", false),
        ("block\n	pass path \"/a/*\"", true),
        ("pass path \"/a/*\"\n	block", false),
        ("block quick path \"/a/*\"\n	pass", false),
        ("pass quick path \"/a/*\"\n	block", true),
        // Tags of an earlier rule hold until they are taken away.
        (
            "match header \"X-Test\" tag \"t\"\n	block tagged \"t\"",
            false,
        ),
        (
            "match header \"X-None\" tag \"t\"\n	block tagged \"t\"",
            true,
        ),
        (
            "match tag \"t\"\n	match path \"/a*\" no tag\n	block tagged \"t\"",
            true,
        ),
        // The same of responses; `from` is their server.
        ("block response header \"Server\" value \"m*\"", false),
        ("block response header \"Server\" value \"M*\"", true),
        ("block response header \"X-None\"", true),
        ("block response cookie \"sid\" value \"7\"", false),
        ("block response cookie \"sid\" value \"8\"", true),
        ("block response from 127.0.0.1", false),
        ("block response from 10.0.0.0/8", true),
        (
            "match request path \"/a/*\" tag \"t\"\n	block response tagged \"t\"",
            false,
        ),
        (
            "match request path \"/b/*\" tag \"t\"\n	block response tagged \"t\"",
            true,
        ),
    ];
    let rules: Vec<&str> = cases.iter().map(|(rules, _)| *rules).collect();
    let relays = Relays::start(&rules);
    for (number, (rules, passes)) in cases.iter().enumerate() {
        let (status, text) = relays.ask(number, REQUEST);
        let wanted = if *passes { 200 } else { 403 };
        assert_eq!(status, wanted, "{rules}: {text}");
        if !passes {
            relays
                .daemon
                .wait_line(&format!("relay r{number}, session "));
        }
    }
}

#[test]
fn actions_of_every_kind_change_what_the_other_side_gets() {
    // What must and must not be in the two heads.
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "match header append \"X-Test\" value \"more\"",
            &["X-Test: yes\r\nX-Test: no\r\n", "X-Test: more\r\n"],
            &[],
        ),
        (
            "match header append \"X-New\" value \"$REMOTE_ADDR $SERVER_ADDR $HOST $TIMEOUT $SERVER_NAME\"",
            &["X-New: 127.0.0.1 127.0.0.1 www.example.com 600 OpenBSD relayd\r\n"],
            &[],
        ),
        (
            "match header set \"X-Test\" value \"set\"",
            &["X-Test: set\r\nX-Test: no\r\n"],
            &["yes"],
        ),
        (
            "match header set \"X-New\" value \"v\"",
            &["X-New: v\r\n"],
            &[],
        ),
        (
            "match header remove \"X-Test\"",
            &["Cookie: sid=7"],
            &["X-Test"],
        ),
        (
            "match header remove \"x-*\"",
            &["Cookie: sid=7"],
            &["X-Test"],
        ),
        (
            "match cookie append \"k\" value \"v\"",
            &["Cookie: sid=7; theme=\"Dark\"\r\n", "Cookie: k=v;\r\n"],
            &[],
        ),
        (
            "match cookie set \"k\" value \"v\"",
            &["Cookie: k=v;\r\n"],
            &[],
        ),
        (
            "match cookie remove \"sid\"",
            &["X-Test: yes"],
            &["\nCookie"],
        ),
        (
            "match path set \"/a/*\" value \"/new x\"",
            &["GET /new%20x?x=1&y=Two HTTP/1.1\r\n"],
            &[],
        ),
        (
            "match path append \"/a/b\"",
            &["GET /a/b/a/b?x=1&y=Two "],
            &[],
        ),
        ("match path remove \"/a/*\"", &["GET /?x=1&y=Two "], &[]),
        ("match path strip 1", &["GET /b?x=1&y=Two "], &[]),
        (
            "pass path \"/a/*\" header set \"X-Late\" value \"v\"",
            &["X-Late: v\r\n"],
            &[],
        ),
        (
            "match response header append \"X-One\" value \"3\"",
            &["X-One: 1\r\nX-One: 2\r\n", "X-One: 3\r\n"],
            &[],
        ),
        (
            "match response header set \"Server\" value \"relayd\"",
            &["Server: relayd\r\n"],
            &["mirror"],
        ),
        (
            "match response header remove \"X-One\"",
            &["Server: mirror"],
            &["X-One"],
        ),
        (
            "match response cookie append \"k\" value \"v\"",
            &["Set-Cookie: sid=7; Path=/\r\n", "Set-Cookie: k=v;\r\n"],
            &[],
        ),
        (
            "match response cookie set \"k\" value \"v\"",
            &["Set-Cookie: k=v;\r\n"],
            &[],
        ),
        (
            "match response cookie remove \"sid\"",
            &["Server: mirror"],
            &["Set-Cookie"],
        ),
        // In a response the peer is the server.
        (
            "match response header set \"X-Peer\" value \"$REMOTE_ADDR\"",
            &["X-Peer: 127.0.0.1\r\n"],
            &[],
        ),
    ];
    let rules: Vec<&str> = cases.iter().map(|(rules, ..)| *rules).collect();
    let relays = Relays::start(&rules);
    for (number, (rules, has, lacks)) in cases.iter().enumerate() {
        let (status, text) = relays.ask(number, REQUEST);
        assert_eq!(status, 200, "{rules}");
        for part in *has {
            assert!(text.contains(part), "{rules}: no {part:?} in {text}");
        }
        for part in *lacks {
            assert!(!text.contains(part), "{rules}: {part:?} in {text}");
        }
    }
}

#[test]
fn items_of_every_kind_are_logged() {
    let cases: &[(&str, &str)] = &[
        ("match header log \"x-test\"", ", [X-Test: yes] GET"),
        ("match header log \"X-None\"", ", done, GET"),
        ("match cookie log \"theme\"", ", [theme: Dark] GET"),
        ("match query log \"y\"", ", [y: Two] GET"),
        ("match path log \"/a*\"", ", [/a/b: x=1&y=Two] GET"),
        ("match url log \"*\"", ", [www.example.com/a/b] GET"),
        (
            "match header log \"X-Test\" label \"why\"",
            ", [why, X-Test: yes] GET",
        ),
        (
            "match label \"why\"\n	match header log \"X-Test\" no label",
            ", [X-Test: yes] GET",
        ),
        (
            "match response header log \"Server\"",
            ", GET {Server: mirror};",
        ),
        ("match response cookie log \"sid\"", ", GET {sid: 7};"),
        (
            "match request tag \"blue\"",
            " active), blue, 127.0.0.1 -> ",
        ),
    ];
    let rules: Vec<&str> = cases.iter().map(|(rules, _)| *rules).collect();
    let relays = Relays::start(&rules);
    for (number, (rules, wanted)) in cases.iter().enumerate() {
        assert_eq!(relays.ask(number, REQUEST).0, 200);
        let line = relays
            .daemon
            .wait_line(&format!("relay r{number}, session "));
        assert!(line.contains(wanted), "{rules}: {line}");
    }
}

#[test]
fn hash_actions_of_every_kind_choose_the_host() {
    let servers = Server::row(Speech::Http, &["one", "two", "three", "four"]);
    let kinds = [
        "header hash \"X-Key\"",
        "cookie hash \"key\"",
        "query hash \"key\"",
        "path hash \"/*\"",
        "url hash \"test/\"",
    ];
    let mut config =
        "table <t> { 127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 }\nprefork 2\n".to_owned();
    let ports: Vec<u16> = kinds.iter().map(|_| port()).collect();
    for (number, (kind, at)) in kinds.iter().zip(&ports).enumerate() {
        write!(
            config,
            "http protocol p{number} {{\n	match {kind}\n}}
relay r{number} {{
	listen on 127.0.0.1 port {at}
	protocol p{number}
	forward to <t> port {} mode hash
}}
",
            servers[0].port()
        )
        .unwrap();
    }
    let daemon = Daemon::start(&config);
    daemon.wait_line("running relay r4");
    for (kind, at) in kinds.iter().zip(ports) {
        // Who answers a request with this key; the server's name is in its response.
        let who = |key: usize| {
            let path = match *kind {
                "url hash \"test/\"" | "path hash \"/*\"" => format!("/{key}"),
                "query hash \"key\"" => format!("/?key={key}"),
                _ => "/".to_owned(),
            };
            let (header, cookie) = (format!("X-Key: {key}"), format!("Cookie: key={key}"));
            let mut client = Http::connect(local(at)).unwrap();
            let fields = [&*header, &cookie, "Connection: close"];
            let answer = client.ask("GET", &path, &fields).unwrap();
            answer.header("server").expect("a name").to_owned()
        };
        let hosts: Vec<String> = (0..16).map(who).collect();
        let again: Vec<String> = (0..16).map(who).collect();
        assert_eq!(hosts, again, "{kind}");
        let used: BTreeSet<&String> = hosts.iter().collect();
        assert!(used.len() > 1, "{kind} chose {used:?}");
    }
}

#[test]
fn lists_of_ten_thousand_lines_work_for_every_kind() {
    let scratch = Scratch::new();
    let list = |name: &str, line: &dyn Fn(usize) -> String| {
        let mut text = String::from("# ten thousand of them\n\n");
        for number in 0..10_000 {
            writeln!(text, "{}", line(number)).unwrap();
        }
        scratch.write(name, &text).display().to_string()
    };
    let word = list("words", &|n| format!("X-Key-{n}"));
    let path = list("paths", &|n| format!("/dir{n}/*"));
    let url = list("urls", &|n| format!("site{n}.example.net/"));
    let rules = [
        format!("block header file \"{word}\""),
        format!("block cookie file \"{word}\""),
        format!("block query file \"{word}\""),
        format!("block path file \"{path}\""),
        format!("block url file \"{url}\""),
        format!("match header remove file \"{word}\""),
        format!(
            "match response header remove file \"{}\"",
            list("answer", &|n| format!("X-{}", ["One", "None"][n.min(1)]))
        ),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let relays = Relays::start(&rules);
    let ask = |number: usize, key: usize| {
        let mut client = Http::connect(local(relays.ports[number])).unwrap();
        let request = format!(
            "GET /dir{key}/x?X-Key-{key}=1 HTTP/1.1\r\nHost: site{key}.example.net\r\n\
             X-Key-{key}: 1\r\nCookie: X-Key-{key}=1\r\nConnection: close\r\n\r\n"
        );
        client.send(request.as_bytes()).unwrap();
        let answer = client.answer("GET").unwrap();
        (answer.status, answer.body + &answer.head)
    };
    for (number, rule) in rules.iter().enumerate().take(5) {
        assert_eq!(ask(number, 0).0, 403, "{rule}");
        assert_eq!(ask(number, 9999).0, 403, "{rule}");
        assert_eq!(ask(number, 10_000).0, 200, "{rule}");
    }
    assert!(!ask(5, 9999).1.contains("X-Key-9999: 1"));
    assert!(ask(5, 10_000).1.contains("X-Key-10000: 1"));
    assert!(!ask(6, 0).1.contains("X-One"));
}

#[test]
fn actions_of_older_releases_keep_their_meaning() {
    let relays = Relays::start(&[
        "request header filter \"bad*\" from \"X-Agent\"
	request path filter \"/forbidden\"
	request header change \"X-Test\" to \"changed\"
	request header remove \"X-Secret\"
	request query mark \"gold\" from \"class\" with 7
	response header append \"yes\" to \"X-Gold\" marked 7
	request header log \"X-Test\"",
        "label \"members only\"
	request url expect \"www.example.com/a/\"
	no label
	request cookie expect \"7\" from \"sid\"",
    ]);
    let ask = |number: usize, line: &str, field: &str| {
        let mut client = Http::connect(local(relays.ports[number])).unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: www.example.com\r\n{field}\r\nConnection: close\r\n\r\n"
        );
        client.send(request.as_bytes()).unwrap();
        let answer = client.answer("GET").unwrap();
        (answer.status, answer.body + &answer.head)
    };
    assert_eq!(ask(0, "GET /", "X-Agent: BAD one").0, 403);
    assert_eq!(ask(0, "GET /", "X-Agent: good").0, 200);
    assert_eq!(ask(0, "GET /forbidden", "A: b").0, 403);
    let (status, text) = ask(0, "GET /?class=gold", "X-Secret: 1");
    assert_eq!(status, 200);
    assert!(
        text.contains("X-Test: changed\r\n") && !text.contains("X-Secret"),
        "{text}"
    );
    assert!(text.contains("X-Gold: yes\r\n"), "{text}");
    assert!(!ask(0, "GET /?class=lead", "A: b").1.contains("X-Gold"));
    assert_eq!(ask(1, "GET /a/b", "Cookie: sid=7").0, 200);
    assert_eq!(ask(1, "GET /a/b", "Cookie: sid=8").0, 403);
    let (status, page) = ask(1, "GET /b/", "Cookie: sid=7");
    assert_eq!(status, 403);
    assert!(page.contains("members only"), "{page}");
}
