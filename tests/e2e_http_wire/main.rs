//! HTTP on the wire with the real daemon: framings, interim answers, limits with their status, and kept connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod script;
#[path = "../support/mod.rs"]
mod support;
mod violations;

use script::Script;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use support::client::Http;
use support::daemon::Settings;
use support::{BOUND, Daemon, curl, port, wait};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
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
    // Order and spelling are the client's.
    let wire = "GET /order HTTP/1.1\r\nX-b: 1\r\nhOST: h\r\nA:  2 \r\nx-B: 3\r\n\r\n";
    client.send(wire.as_bytes()).unwrap();
    assert_eq!(client.answer("GET").unwrap().status, 200);
    assert_eq!(script.last(), wire);
    // A body on GET is dropped with its length, and never a request; and so are those of the others without one.
    for method in ["GET", "HEAD", "COPY", "MOVE"] {
        let inner = "GET /smuggled HTTP/1.1\r\nA: b\r\n\r\n";
        let head = format!(
            "{method} /body HTTP/1.1\r\nHost: h\r\nContent-Length: {}",
            inner.len()
        );
        client
            .send(format!("{head}\r\n\r\n{inner}").as_bytes())
            .unwrap();
        assert_eq!(client.answer(method).unwrap().status, 200);
        let seen = script.last();
        assert_eq!(seen, format!("{method} /body HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
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
