//! What may not be said: each violation of a client or a server, its status, its words in the log, its metric.

use crate::script::Script;
use crate::support::client::Http;
use crate::support::{BOUND, Daemon, port, wait};
use crate::{all, daemon, local};
use std::collections::BTreeMap;

#[test]
fn limits_and_violations_have_their_status_and_page() {
    let ((server, script), at, metrics) = (Script::start(), port(), port());
    let daemon = daemon(
        at,
        server,
        "	return error style \"body { color: red }\"\n	http head timeout 1\n	http headerlen 2048\n	match request path \"/labelled\" label \"ask for another\"\n	block request path \"/labelled\"",
        Some(metrics),
    );
    let long = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "x".repeat(3000)
    );
    let mut many = String::from("GET / HTTP/1.1\r\n");
    many.extend((0..300).map(|n| format!("A{n}:\r\n")));
    many.push_str("\r\n");
    for (bytes, status, kind) in [
        (long.as_bytes(), 413, "head_too_large"),
        (many.as_bytes(), 413, "head_too_large"),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 405, ""),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "version"),
        (b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400, "host"),
        (
            b"GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
            400,
            "host",
        ),
        (b"GET /labelled HTTP/1.1\r\nHost: h\r\n\r\n", 403, ""),
        (b"GET / HTTP/1.1\r\nHost:", 408, ""),
        (b"GET /two-lengths HTTP/1.1\r\nHost: h\r\n\r\n", 502, ""),
        (b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400, "malformed"),
    ] {
        let text = all(at, bytes);
        let line = text.lines().next().unwrap_or_default();
        assert!(
            line.starts_with(&format!("HTTP/1.0 {status:03} ")),
            "{line} for {}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        );
        assert!(text.contains("body { color: red }"), "{text}");
        assert_eq!(
            text.contains("ask for another"),
            bytes.starts_with(b"GET /labelled")
        );
        daemon.wait_line(&format!("({status:03} "));
        if !kind.is_empty() {
            let label = format!("kind=\"{kind}\"");
            wait::until_true(kind, || {
                daemon
                    .metrics()
                    .lines()
                    .any(|l| l.starts_with("relayd_relay_http_refused_total") && l.contains(&label))
            });
        }
    }
    assert!(
        script.seen.lock().unwrap().len() <= 1,
        "only /two-lengths may pass"
    );
}

/// What a client may not send: the bytes, then status, words and kind of the refusal.
fn violations() -> Vec<(Vec<u8>, u16, &'static str, &'static str)> {
    let mut all = Vec::new();
    let mut add = |bytes: &[u8], refusal: (u16, &'static str, &'static str)| {
        all.push((bytes.to_vec(), refusal.0, refusal.1, refusal.2));
    };
    let malformed = (400, "malformed", "malformed");
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / http/1.1",
        "\u{16}\u{3}\u{1}",
    ] {
        add(format!("{line}\r\nHost: h\r\n\r\n").as_bytes(), malformed);
    }
    for field in [
        "A : b",
        " A: b",
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A",
        ": b",
        "A\0: b",
        "A: b\0",
        "A: b\rc",
        "A: b\r",
        "A(: b",
        "\"A\": b",
        "A: b\u{1}",
        "A: b\u{7f}",
        "A:b\rB:c",
        "\u{e4}: b",
        "A: b\nB: c",
    ] {
        add(
            format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n").as_bytes(),
            malformed,
        );
    }
    add(b"GET / HTTP/1.1\nHost: h\r\n\r\n", malformed);
    add(
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        (406, "no method", "no_method"),
    );
    add(b"GET /\r\n\r\n", (500, "no version", "version"));
    for version in ["2.0", "1.2", "0.9"] {
        let line = format!("GET / HTTP/{version}\r\n\r\n");
        add(line.as_bytes(), (505, "version not supported", "version"));
    }
    let repeated = (400, "malformed header", "repeated");
    let coding = (400, "malformed", "transfer_encoding");
    let length = (500, "invalid", "length");
    for (fields, refusal) in [
        ("Content-Length: 1\r\nContent-Length: 2", repeated),
        ("Content-Length: 1\r\ncontent-length: 1", repeated),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", repeated),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1", repeated),
        ("Host: a\r\nHost: a", repeated),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            coding,
        ),
        ("Transfer-Encoding: gzip, chunked", coding),
        ("Transfer-Encoding: identity", coding),
        ("Transfer-Encoding: chunked;a", coding),
        ("Transfer-Encoding:", coding),
        ("Content-Length: 1, 1", length),
        ("Content-Length: +1", length),
        ("Content-Length: -1", length),
        ("Content-Length: 0x1", length),
        ("Content-Length:", length),
        (
            "Content-Length: 9223372036854775808",
            (500, "too large", "length"),
        ),
    ] {
        add(
            format!("POST / HTTP/1.1\r\n{fields}\r\n\r\na").as_bytes(),
            refusal,
        );
    }
    add(
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        coding,
    );
    let body = (400, "malformed", "unexpected_body");
    add(
        b"TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na",
        body,
    );
    let connect = (405, "Method Not Allowed", "connect");
    add(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", connect);
    let host = (400, "malformed host", "host");
    for (target, value) in [
        ("http://a/", "b"),
        ("http://u@a/", "u@a"),
        ("/", "a b"),
        ("/", "a/b"),
        ("/", "a,b"),
        ("/", "u@a"),
        ("/", "a:x"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {value}\r\n\r\n");
        add(head.as_bytes(), host);
    }
    let chunk = (400, "invalid chunk size", "chunk");
    for size in ["0x1", "+1", "-1", "", "g", "1 1", "1\n", "1\rx"] {
        let text = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\na\r\n0\r\n\r\n"
        );
        add(text.as_bytes(), chunk);
    }
    let post = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    add(
        format!("{post}{}\r\n", "1".repeat(40)).as_bytes(),
        (400, "chunk size too long", "chunk"),
    );
    for trailer in [
        "Content-Length: 1",
        "Transfer-Encoding: chunked",
        "Host: h",
        "A : b",
        "A: b\nB: c",
    ] {
        let text = format!("{post}0\r\n{trailer}\r\n\r\n");
        add(text.as_bytes(), (400, "malformed", "trailer"));
    }
    for (head, refusal) in [
        (
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: x",
            (400, "Bad Websocket Request", "websocket"),
        ),
        (
            "POST / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade",
            (405, "Websocket Method Not Allowed", "websocket"),
        ),
        ("GET /forbidden HTTP/1.1", (403, "Forbidden", "forbidden")),
    ] {
        add(format!("{head}\r\n\r\n").as_bytes(), refusal);
    }
    let long = "x".repeat(70_000);
    let target = format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n");
    let refusal = (414, "request target too long", "target_too_long");
    add(target.as_bytes(), refusal);
    let field = format!("GET / HTTP/1.1\r\nA: {long}\r\nB: {long}\r\n\r\n");
    let refusal = (413, "request headers too large", "head_too_large");
    add(field.as_bytes(), refusal);
    all
}

/// Value of the metric of refused messages of a kind, over all processes.
fn refused(daemon: &Daemon, kind: &str) -> u64 {
    let label = format!("kind=\"{kind}\"");
    let text = daemon.metrics();
    let lines = text
        .lines()
        .filter(|l| l.starts_with("relayd_relay_http_refused_total{") && l.contains(&label));
    lines
        .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn every_violation_of_a_client_is_answered_logged_and_counted() {
    let ((server, script), at, silent, metrics) = (Script::start(), port(), port(), port());
    let options = "	http headerlen 131072\n	http websockets\n	block path \"/forbidden\"";
    let daemon = daemon(
        at,
        server,
        &format!(
            "{options}\n}}\nhttp protocol quiet {{\n{options}\n}}
relay quiet {{
	listen on 127.0.0.1 port {silent}
	protocol quiet
	forward to <t> port {server} check tcp"
        ),
        Some(metrics),
    );
    let mut bystander = Http::connect(local(at)).unwrap();
    assert_eq!(bystander.ask("GET", "/bystander", &[]).unwrap().status, 200);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (bytes, status, words, kind) in violations() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(90)]).into_owned();
        let mark = daemon.mark();
        let text = all(at, &bytes);
        assert!(
            text.starts_with(&format!("HTTP/1.0 {status:03} ")),
            "{text} for {shown:?}"
        );
        let line = daemon.wait_line_since(mark, "relay www, session ");
        assert!(
            line.contains(&format!(", 127.0.0.1 -> :0, {words} ({status:03} ")),
            "{line} for {shown:?}"
        );
        // Without `return error` the connection is closed, and nothing is said.
        let mark = daemon.mark();
        assert_eq!(all(silent, &bytes), "", "{shown:?}");
        let line = daemon.wait_line_since(mark, "relay quiet, session ");
        assert!(
            line.contains(&format!(", 127.0.0.1 -> :0, {words}")),
            "{line} for {shown:?}"
        );
        *counts.entry(kind).or_default() += 2;
    }
    assert_eq!(bystander.ask("GET", "/bystander", &[]).unwrap().status, 200);
    for (kind, count) in counts {
        let mut seen = 0;
        let found = wait::within_or_none(BOUND, || {
            seen = refused(&daemon, kind);
            (seen >= count).then_some(())
        });
        assert!(
            found.is_some() && seen == count,
            "{kind}: {seen}, not {count}"
        );
    }
    let seen = script.seen.lock().unwrap();
    assert!(
        seen.iter().all(|r| r.starts_with("GET /bystander ")),
        "{seen:#?}"
    );
}

#[test]
fn every_violation_of_a_server_is_answered_for_logged_and_counted() {
    let ((server, _script), at, metrics) = (Script::start(), port(), port());
    let daemon = daemon(at, server, "	http websockets", Some(metrics));
    let mut bystander = Http::connect(local(at)).unwrap();
    let gateway = (502, "Bad Gateway");
    let cases = [
        ("/two-lengths", gateway),
        ("/both", gateway),
        ("/fold", gateway),
        ("/blank", gateway),
        ("/mixed", gateway),
        ("/gzip", gateway),
        ("/old-chunks", gateway),
        ("/full-204", gateway),
        ("/chunked-204", gateway),
        ("/full-100", gateway),
        ("/unasked", (502, "Bad Websocket Gateway")),
        ("/status", (500, "malformed")),
        ("/version", (500, "malformed")),
    ];
    for (path, (status, words)) in cases {
        assert_eq!(bystander.ask("GET", "/bystander", &[]).unwrap().status, 200);
        let mark = daemon.mark();
        let text = all(
            at,
            format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
        );
        assert!(
            text.starts_with(&format!("HTTP/1.0 {status} ")),
            "{text} for {path}"
        );
        let line = daemon.wait_line_since(mark, "relay www, session ");
        let wanted = format!(", 127.0.0.1 -> 127.0.0.1:{server}, {words} ({status} ");
        assert!(line.contains(&wanted), "{line} for {path}");
    }
    wait::until_true("the metric", || {
        refused(&daemon, "server") == cases.len() as u64
    });
}
