//! HTTP relays as relayd.conf writes them: rules in every form, error pages, strictness on the wire, logs, metrics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use support::client::Http;
use support::daemon::Settings;
use support::{Daemon, Server, curl, port};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A daemon with one relay whose protocol has `rules`; tables `main` and `other` have a server each.
fn daemon(at: u16, servers: [&Server; 2], rules: &str, settings: Settings<'_>) -> Daemon {
    let [main, other] = servers.map(Server::port);
    let daemon = Daemon::with(
        settings,
        &format!(
            "interval 1\ntimeout 500\nprefork 1\nlog connection
table <main> {{ 127.0.0.1 }}
table <other> {{ 127.0.0.1 }}
http protocol web {{
{rules}
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <main> port {main} check tcp
	forward to <other> port {other} check tcp
}}
"
        ),
    );
    daemon.wait_rows(&[
        ("table", &format!("main:{main}"), "active (1 hosts)"),
        ("table", &format!("other:{other}"), "active (1 hosts)"),
    ]);
    daemon
}

/// Body of an answer by curl, which must succeed.
fn get(at: u16, words: &[&str], path: &str) -> String {
    let url = format!("http://127.0.0.1:{at}{path}");
    let mut all = vec!["-s", "--max-time", "10"];
    all.extend(words);
    all.push(&url);
    curl(&all).stdout
}

#[test]
fn rules_of_every_kind_do_what_relayd_conf_says() {
    let (main, other) = (Server::http("main"), Server::http("other"));
    let at = port();
    let daemon = daemon(
        at,
        [&main, &other],
        r#"
	return error style "p { color: red }"
	match request header append "X-Forwarded-For" value "$REMOTE_ADDR"
	match request header append "X-By" value "$SERVER_ADDR:$SERVER_PORT"
	match request header remove "X-Secret"
	match request path strip 1 header "X-Strip"
	match response header set "X-Frame" value "none"
	match request header log "User-Agent"
	match request path "/tagged*" tag "seen"
	match response tagged "seen" header set "X-Tag" value "seen"
	pass
	pass request quick path "/other*" forward to <other>
	pass request quick url "example.com/free/" 
	block request quick path "/private*" label "<b>members only</b>"
	block request quick query "drop" value "t*"
	block request quick cookie "state" value "bad"
	block request quick method "DELETE"
	block request quick url "example.com/" label "no such site"
	block request quick from 10.0.0.0/8
	block request quick header "X-Bad" value "evil*""#,
        Settings::default(),
    );
    let head = get(at, &["-H", "X-Secret: 1"], "/head");
    assert!(head.contains("X-Forwarded-For: 127.0.0.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("X-By: 127.0.0.1:{at}\r\n")),
        "{head}"
    );
    assert!(!head.contains("X-Secret"), "{head}");
    assert_eq!(get(at, &["-H", "X-Strip: 1"], "/a/b?c"), "GET /b?c\n");
    assert_eq!(get(at, &[], "/"), "main\n");
    assert_eq!(
        get(
            at,
            &["-o", "/dev/null", "-w", "%header{x-frame} %header{x-tag}"],
            "/tagged/x"
        ),
        "none seen"
    );
    // The table is chosen anew for each request of a connection.
    let mut client = Http::connect(local(at)).unwrap();
    for path in ["/a", "/other/b", "/c"] {
        assert_eq!(client.ask("GET", path, &[]).unwrap().status, 200);
    }
    assert!(other.requests().iter().any(|r| r.contains("/other/b")));
    assert!(!main.requests().iter().any(|r| r.contains("/other")));
    let code = |words: &[&str], path: &str| {
        let mut all = vec!["-o", "/dev/null", "-w", "%{http_code}"];
        all.extend(words);
        get(at, &all, path)
    };
    for (words, path, wanted) in [
        (&[][..], "/private/x", "403"),
        (&[], "/x?a=b&drop=this", "403"),
        (&[], "/x?a=b&drop=no", "200"),
        (&["-b", "a=1; STATE=BAD"], "/", "403"),
        (&["-X", "DELETE"], "/", "403"),
        (&["-X", "QUERY"], "/", "200"),
        (&["-H", "Host: www.example.com"], "/any", "403"),
        (&["-H", "Host: www.example.com"], "/free/any", "200"),
        (&["-H", "X-Bad: evil one"], "/", "403"),
        (&["-H", "X-Bad: good"], "/", "200"),
    ] {
        assert_eq!(code(words, path), wanted, "{words:?} {path}");
    }
    let page = get(at, &["-i"], "/private");
    assert!(page.starts_with("HTTP/1.0 403 Forbidden\r\n"), "{page}");
    assert!(
        page.contains("<div id='l'><b>members only</b></div>"),
        "{page}"
    );
    assert!(page.contains("p { color: red }"), "{page}");
    let line = daemon.wait_line("Forbidden (403 Forbidden)");
    assert!(
        line.contains(", [<b>members only</b>, User-Agent: curl/"),
        "{line}"
    );
}

#[test]
fn long_lists_and_older_actions_work_from_a_file() {
    let (main, other) = (Server::http("main"), Server::http("other"));
    let at = port();
    let directory = support::Scratch::new();
    let mut lines = String::from("# one address a line\n\n");
    for number in 0..10_000 {
        writeln!(lines, "site{number}.example.net/").unwrap();
    }
    let list = directory.write("list", &lines);
    let _daemon = daemon(
        at,
        [&main, &other],
        &format!(
            "	return error
	pass
	block request quick url file \"{}\"
	block request quick path file \"{}\"",
            list.display(),
            directory.write("paths", "/one\n/two/*\n").display()
        ),
        Settings::default(),
    );
    let code = |host: &str, path: &str| {
        let host = format!("Host: {host}");
        get(
            at,
            &["-o", "/dev/null", "-w", "%{http_code}", "-H", &host],
            path,
        )
    };
    assert_eq!(code("www.site9999.example.net", "/deep/path"), "403");
    assert_eq!(code("www.site10000.example.net", "/deep/path"), "200");
    assert_eq!(code("h", "/one"), "403");
    assert_eq!(code("h", "/two/three"), "403");
    assert_eq!(code("h", "/three"), "200");
}

#[test]
fn expect_of_older_files_is_or_within_a_key() {
    let (main, other) = (Server::http("main"), Server::http("other"));
    let at = port();
    let _daemon = daemon(
        at,
        [&main, &other],
        r#"	return error
	request header expect "one" from "X-Key"
	request header expect "two" from "X-Key"
	request header append "added" to "X-Key""#,
        Settings::default(),
    );
    let head = get(at, &["-H", "X-Key: TWO"], "/head");
    assert!(head.contains("X-Key: TWO, added\r\n"), "{head}");
    let code = |value: &str| {
        get(
            at,
            &["-o", "/dev/null", "-w", "%{http_code}", "-H", value],
            "/",
        )
    };
    assert_eq!(code("X-Key: three"), "403");
    assert_eq!(code("X-Other: one"), "403");
}

#[test]
fn odd_bytes_are_refused_and_counted_and_cost_nobody_else_anything() {
    let (main, other) = (Server::http("main"), Server::http("other"));
    let (at, metrics) = (port(), port());
    let daemon = daemon(
        at,
        [&main, &other],
        "	return error",
        Settings {
            metrics: Some(metrics),
            ..Settings::default()
        },
    );
    let mut bystander = Http::connect(local(at)).unwrap();
    assert_eq!(bystander.ask("GET", "/", &[]).unwrap().status, 200);
    for (bytes, status) in [
        (&b"GET / HTTP/1.1\r\nA : b\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nContent-Length: +0\r\n\r\n", 500),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"\r\n", 406),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", 400),
        (
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            403,
        ),
    ] {
        let mut client = Http::connect(local(at)).unwrap();
        client.send(bytes).unwrap();
        let answer = client.answer("GET").unwrap();
        assert_eq!(
            answer.status,
            status,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
        assert!(client.closed());
    }
    assert_eq!(bystander.ask("GET", "/still", &[]).unwrap().status, 200);
    assert!(main.requests().iter().all(|r| !r.starts_with("POST")));
    support::wait::until("the metric", || {
        let text = daemon.metrics();
        let repeated = text.lines().find(|l| {
            l.starts_with("relayd_relay_http_refused_total") && l.contains("kind=\"repeated\"")
        })?;
        repeated.ends_with(" 3").then_some(())
    });
}
