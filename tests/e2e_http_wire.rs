//! HTTP on the wire with the real daemon: framings, interim answers, limits with their status, and kept connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use support::client::Http;
use support::daemon::Settings;
use support::servers::header;
use support::{BOUND, Daemon, curl, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A server that answers by the path, byte for byte. It ends with the process.
#[derive(Debug, Default)]
struct Script {
    /// Heads and bodies of the requests.
    seen: Mutex<Vec<String>>,
    /// Connections that sent a request.
    connections: AtomicUsize,
}

impl Script {
    fn start() -> (u16, Arc<Script>) {
        let (at, script) = (port(), Arc::new(Script::default()));
        let listener = TcpListener::bind(local(at)).unwrap();
        let shared = script.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        (at, script)
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut out = stream.try_clone().ok()?;
        let mut input = BufReader::new(stream);
        let mut first = true;
        let mut stale = false;
        loop {
            let head = head(&mut input)?;
            if stale {
                // The connection ends when it is used again, without an answer.
                return None;
            }
            if std::mem::take(&mut first) {
                self.connections.fetch_add(1, SeqCst);
            }
            let path = head.split(' ').nth(1)?.to_owned();
            if header(&head, "expect").is_some() {
                out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
            }
            let body = body(&mut input, &head)?;
            self.seen.lock().unwrap().push(format!("{head}{body}"));
            stale = path == "/stale";
            out.write_all(&answer(&path, &head, &body)).ok()?;
            if path == "/until-close" {
                return None;
            }
        }
    }

    fn last(&self) -> String {
        self.seen
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

/// A request head; `None` at the end.
fn head(input: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if input.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// A request body as it came.
fn body(input: &mut BufReader<TcpStream>, head: &str) -> Option<String> {
    let mut body = String::new();
    if header(head, "transfer-encoding").is_some() {
        while !body.ends_with("0\r\n\r\n") {
            input.read_line(&mut body).ok()?;
        }
    } else if let Some(length) = header(head, "content-length") {
        let mut bytes = vec![0; length.parse().ok()?];
        input.read_exact(&mut bytes).ok()?;
        body = String::from_utf8(bytes).ok()?;
    }
    Some(body)
}

fn answer(path: &str, head: &str, body: &str) -> Vec<u8> {
    match path {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n".to_vec(),
        "/hints" => b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        "/trailers" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3;x=y\r\none\r\n0\r\nX-Sum: 1\r\n\r\n".to_vec(),
        "/until-close" => b"HTTP/1.1 200 OK\r\n\r\nto the end".to_vec(),
        "/both" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok".to_vec(),
        "/fold" => b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/blank" => b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/mixed" => b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n".to_vec(),
        "/gzip" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_vec(),
        "/old-chunks" => b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        "/full-204" => b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        "/chunked-204" => b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        "/full-100" => b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        "/unasked" => b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".to_vec(),
        "/status" => b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/version" => b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/bare" => b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nbare".to_vec(),
        "/two-lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na".to_vec(),
        _ => {
            let method = head.split(' ').next().unwrap_or_default();
            let text = format!("{method} {path} {}", body.len());
            let sent = if method == "HEAD" { "" } else { &text };
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{sent}", text.len()).into_bytes()
        }
    }
}

/// A daemon with one relay to the server.
fn daemon(at: u16, server: u16, protocol: &str, metrics: Option<u16>) -> Daemon {
    let daemon = Daemon::with(
        Settings {
            metrics,
            ..Settings::default()
        },
        &format!(
            "interval 1\ntimeout 500\nprefork 1\nlog connection
table <t> {{ 127.0.0.1 }}
http protocol web {{
	return error
{protocol}
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <t> port {server} check tcp
}}
"
        ),
    );
    daemon.wait_status("host", "127.0.0.1", "up");
    daemon
}

/// Sends bytes on a connection of their own and reads all that comes until it is closed.
fn all(at: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect_timeout(&local(at), BOUND).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn every_framing_passes_and_the_connection_goes_on() {
    let ((server, script), at) = (Script::start(), port());
    let _daemon = daemon(at, server, "", None);
    let mut client = Http::connect(local(at)).unwrap();
    let mut ask = |method: &str, path: &str| client.ask(method, path, &[]).unwrap();
    let answer = ask("HEAD", "/x");
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("9"))
    );
    assert_eq!(ask("GET", "/204").status, 204);
    assert_eq!(ask("GET", "/304").status, 304);
    assert_eq!(ask("GET", "/hints").status, 103);
    assert_eq!(client.answer("GET").unwrap().body, "ok");
    assert_eq!(client.ask("BREW", "/pot", &[]).unwrap().body, "BREW /pot 0");
    // The whole body arrives although the server was asked first.
    client
        .send(
            b"POST /form HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.answer("POST").unwrap().status, 100);
    client.send(b"hello").unwrap();
    assert_eq!(client.answer("POST").unwrap().body, "POST /form 5");
    client
        .send(b"POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\none\r\n0\r\n\r\n")
        .unwrap();
    let passed = client.answer("POST").unwrap().body;
    assert!(passed.starts_with("POST /chunks "), "{passed}");
    assert!(
        script.last().contains("one\r\n0\r\n\r\n"),
        "{}",
        script.last()
    );
    // A reason phrase may be missing.
    assert_eq!(client.ask("GET", "/bare", &[]).unwrap().body, "bare");
    // Three at once are answered in their order.
    client
        .send(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.answer("GET").unwrap().body, format!("GET {path} 0"));
    }
    // A body on GET is dropped with its length, and never a request.
    client
        .send(b"GET /body HTTP/1.1\r\nHost: h\r\nContent-Length: 32\r\n\r\nGET /smuggled HTTP/1.1\r\nA: b\r\n\r\n")
        .unwrap();
    assert_eq!(client.answer("GET").unwrap().body, "GET /body 0");
    assert!(
        script
            .seen
            .lock()
            .unwrap()
            .iter()
            .all(|r| !r.contains("smuggled"))
    );
    client
        .send(b"GET http://example.org/absolute HTTP/1.1\r\nHost: example.org\r\n\r\n")
        .unwrap();
    assert_eq!(client.answer("GET").unwrap().status, 200);
    assert!(
        script.last().contains("Host: example.org\r\n"),
        "{}",
        script.last()
    );
    let answer = client.ask("GET", "/until-close", &[]).unwrap();
    assert_eq!(answer.body, "to the end");
    let end = b"GET /trailers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let text = all(at, end);
    assert!(text.contains("one\r\n0\r\nX-Sum: 1\r\n\r\n"), "{text}");
    // curl agrees with all of it.
    let url = |path: &str| format!("http://127.0.0.1:{at}{path}");
    let answer = curl(&[&url("/trailers"), &url("/hints"), &url("/curl")]);
    assert_eq!(answer.stdout, "oneokGET /curl 0", "{}", answer.stderr);
    let answer = curl(&["-d", "12345", "-H", "Expect: 100-continue", &url("/curl")]);
    assert_eq!(answer.stdout, "POST /curl 5", "{}", answer.stderr);
}

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

#[test]
fn a_kept_server_connection_is_shared_and_replaced_when_it_ends() {
    let ((server, script), at, metrics) = (Script::start(), port(), port());
    let daemon = daemon(at, server, "", Some(metrics));
    for _ in 0..5 {
        let mut client = Http::connect(local(at)).unwrap();
        assert_eq!(client.ask("GET", "/a", &[]).unwrap().status, 200);
        assert_eq!(client.ask("GET", "/b", &[]).unwrap().status, 200);
    }
    assert_eq!(script.connections.load(SeqCst), 1);
    let mut client = Http::connect(local(at)).unwrap();
    assert_eq!(client.ask("GET", "/stale", &[]).unwrap().status, 200);
    // The kept connection ends at this request: it is repeated on another one, and nobody notices.
    assert_eq!(client.ask("GET", "/next", &[]).unwrap().body, "GET /next 0");
    assert_eq!(script.connections.load(SeqCst), 2);
    wait::until_true("the metric", || {
        let text = daemon.metrics();
        text.lines().any(|l| {
            l.starts_with("relayd_relay_http_requests_retried_total{") && l.ends_with(" 1")
        })
    });
    // What may not be repeated is not.
    assert_eq!(client.ask("GET", "/stale", &[]).unwrap().status, 200);
    client
        .send(b"POST /order HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1")
        .unwrap();
    assert_eq!(client.answer("POST").unwrap().status, 502);
    assert!(!script.last().contains("/order"));
}

#[test]
fn urls_are_blocked_by_their_digests() {
    let ((server, _script), at) = (Script::start(), port());
    // MD5 of "example.com/secret/", SHA-1 of "example.org/".
    let rules = "	block request url digest \"506083bca5cee88597cffff3a0222789\"
	block request url digest \"3678c956d215f1f094df6580c354b3ce3d90e31d\"";
    let _daemon = daemon(at, server, rules, None);
    let status = |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let text = all(at, request.as_bytes());
        text.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for (host, path, wanted) in [
        ("example.com", "/", "200"),
        ("example.com", "/secret", "200"),
        ("www.example.com", "/secret/deep", "403"),
        ("example.org", "/any", "403"),
        ("example.net", "/secret/", "200"),
    ] {
        assert_eq!(status(host, path), wanted, "{host}{path}");
    }
}

#[test]
fn a_body_of_get_is_forwarded_where_the_option_says_so() {
    let ((server, script), at) = (Script::start(), port());
    let _daemon = daemon(at, server, "	http forward body", None);
    let mut client = Http::connect(local(at)).unwrap();
    client
        .send(b"GET /search HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nquery")
        .unwrap();
    assert_eq!(client.answer("GET").unwrap().body, "GET /search 5");
    assert!(
        script.last().ends_with("\r\n\r\nquery"),
        "{}",
        script.last()
    );
    assert_eq!(
        client.ask("GET", "/after", &[]).unwrap().body,
        "GET /after 0"
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
