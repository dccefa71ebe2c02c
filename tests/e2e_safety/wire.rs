//! Bad bytes: requests, endless streams of them, and servers that answer badly or not at all.

use super::*;
use crate::support::client::Http;
use crate::support::wait::BOUND;
use crate::support::{Server, port};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

#[test]
fn bad_requests_are_answered_logged_and_counted() {
    let web = Server::http("web");
    let at = port();
    let daemon = daemon(&http_relay(at, web.port(), "", ""));
    let field = |length: usize| format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(length));
    let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases: [(&str, String, u16, &str, &str); 7] = [
        (
            "huge head",
            field(9000),
            413,
            "request headers too large",
            "head_too_large",
        ),
        (
            "flood of fields",
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(400)),
            413,
            "request headers too large",
            "head_too_large",
        ),
        (
            "endless chunk extension",
            format!("{post}1;{}", "x".repeat(9000)),
            400,
            "chunk size too long",
            "chunk",
        ),
        (
            "endless chunk size",
            format!("{post}{}", "1".repeat(100)),
            400,
            "chunk size too long",
            "chunk",
        ),
        (
            "no chunk size",
            format!("{post}zz\r\n"),
            400,
            "invalid chunk size",
            "chunk",
        ),
        (
            "endless trailers",
            format!("{post}0\r\n{}", "A: b\r\n".repeat(3000)),
            413,
            "request headers too large",
            "head_too_large",
        ),
        (
            "no HTTP at all",
            "\u{1}\u{2}\u{3}\r\n\r\n".into(),
            400,
            "malformed",
            "malformed",
        ),
    ];
    for (name, bytes, status, reason, kind) in cases {
        let parts = ["http_refused_total", &format!("kind=\"{kind}\"")];
        let before = metric(&daemon, &parts);
        let mark = daemon.mark();
        let mut client = Http::connect(local(at)).unwrap();
        client.send(bytes.as_bytes()).unwrap();
        let answer = client.answer("GET").unwrap();
        assert_eq!(answer.status, status, "{name}");
        let line = daemon.wait_line_since(mark, &format!(", {reason} ({status} "));
        assert!(line.contains(", 127.0.0.1 -> "), "{name}: {line}");
        counted(&daemon, &parts, before + 1.0);
        bystander(at);
    }
    assert!(
        web.requests()
            .iter()
            .all(|head| head.contains("Host: test"))
    );
}

/// A server that reads and says nothing.
fn sink() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 65536];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    at
}

#[test]
fn floods_of_requests_and_endless_bodies_take_no_memory() {
    let web = Server::http("web");
    let (at, upload) = (port(), port());
    let daemon = daemon(&format!(
        "{}relay upload {{\n\tlisten on 127.0.0.1 port {upload}\n\tprotocol web\n\tforward to 127.0.0.1 port {}\n}}\n",
        http_relay(at, web.port(), "", ""),
        sink()
    ));
    bystander(at);
    let before = memory(&daemon);
    let mut flood = TcpStream::connect(local(at)).unwrap();
    flood.set_nonblocking(true).unwrap();
    let requests = b"GET /flood HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1000);
    let mut body = TcpStream::connect(local(upload)).unwrap();
    body.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [&b"10000\r\n"[..], &[b'x'; 65536], b"\r\n"].concat();
    for round in 0..300 {
        // As many as anybody takes; the answers are not read.
        let _ = flood.write(&requests);
        body.write_all(&chunk).unwrap();
        if round % 50 == 0 {
            bystander(at);
        }
    }
    let grown = memory(&daemon).saturating_sub(before);
    eprintln!("flood and body: {} KiB", grown / 1024);
    assert!(grown < 6 * 1024 * 1024, "{grown} bytes");
    // What was taken of the flood is answered, in order, once somebody reads.
    flood.set_nonblocking(false).unwrap();
    flood.set_read_timeout(Some(BOUND)).unwrap();
    let mut answers = vec![0; 20_000];
    flood.read_exact(&mut answers).unwrap();
    let text = String::from_utf8_lossy(&answers);
    assert!(text.matches("GET /flood\n").count() > 50, "{text}");
}

/// A server that answers every request with the same bytes, as often as they are taken, and then closes.
fn rude(answer: &'static [u8], times: usize) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        for _ in 0..times {
            if stream.write_all(answer).is_err() {
                break;
            }
        }
        // Says nothing more; the end is the relay's business unless it said nothing at all.
        if times > 0 && !answer.is_empty() {
            let _ = stream.set_read_timeout(Some(BOUND));
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    (at, thread)
}

/// Name; what the server says and how often; the status, reason and kind that come of it.
type BadServer = (
    &'static str,
    &'static [u8],
    usize,
    u16,
    &'static str,
    &'static str,
);

#[test]
fn bad_servers_are_answered_for_logged_and_counted() {
    const ENDLESS: usize = 200_000;
    let cases: [BadServer; 6] = [
        (
            "garbage",
            b"\x01\x02\x03 what\r\n\r\n",
            1,
            500,
            "malformed",
            "server",
        ),
        ("huge head", b"HTTP/1.1 200 OK\r\nA: ", 1, 0, "", ""),
        (
            "endless blank lines",
            b"\r\n\r\n",
            ENDLESS,
            502,
            "Bad Gateway",
            "server",
        ),
        (
            "endless interim responses",
            b"HTTP/1.1 103 Early Hints\r\n\r\n",
            ENDLESS,
            502,
            "Bad Gateway",
            "interim",
        ),
        ("nothing", b"", 1, 502, "Bad Gateway", "server"),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            1,
            502,
            "Bad Gateway",
            "server",
        ),
    ];
    let good = Server::http("good");
    let at = port();
    for (name, bytes, times, status, reason, kind) in cases {
        let (bytes, status, reason, kind) = match status {
            // Grows without an end.
            0 => (
                &*Box::leak([bytes, &[b'x'; 70_000]].concat().into_boxed_slice()),
                413,
                "request headers too large",
                "server",
            ),
            _ => (bytes, status, reason, kind),
        };
        let (host, thread) = rude(bytes, times);
        let other = port();
        let daemon = daemon(&format!(
            "{}relay good {{\n\tlisten on 127.0.0.1 port {other}\n\tprotocol web\n\tforward to 127.0.0.1 port {}\n}}\n",
            http_relay(at, host, "", ""),
            good.port()
        ));
        let mut client = Http::connect(local(at)).unwrap();
        client
            .send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        let answer = loop {
            let answer = client.answer("GET").unwrap();
            if answer.status >= 200 {
                break answer;
            }
        };
        assert_eq!(answer.status, status, "{name}: {}", answer.head);
        let line = daemon.wait_line(&format!(", {reason} ({status} "));
        assert!(
            line.contains(&format!(" -> 127.0.0.1:{host}, ")),
            "{name}: {line}"
        );
        counted(
            &daemon,
            &["http_refused_total", &format!("kind=\"{kind}\"")],
            1.0,
        );
        bystander(other);
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn a_server_that_never_answers_and_one_with_a_bad_body() {
    let good = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().port();
    let (passed, seen) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(good).unwrap();
        seen.recv_timeout(BOUND).unwrap();
        stream.write_all(b"zz\r\n").unwrap();
        let _ = stream.set_read_timeout(Some(BOUND));
        let _ = stream.read(&mut [0; 4096]);
    });
    let silent = Server::http("silent");
    silent.hang(true);
    let (at, other) = (port(), port());
    let daemon = daemon(&format!(
        "{}relay silent {{\n\tlisten on 127.0.0.1 port {other}\n\tprotocol web\n\tforward to 127.0.0.1 port {}\n\tsession timeout 2\n}}\n",
        http_relay(at, host, "", ""),
        silent.port()
    ));
    let mut waiting = Http::connect(local(other)).unwrap();
    waiting
        .send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    let mut client = TcpStream::connect(local(at)).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    client.set_read_timeout(Some(BOUND)).unwrap();
    // What is good of it comes through, and it does not look complete.
    let mut answer = vec![0; good.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, good);
    passed.send(()).unwrap();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert_eq!(String::from_utf8_lossy(&rest), "");
    let line = daemon.wait_line(", invalid chunk size");
    assert!(line.contains(&format!(" -> 127.0.0.1:{host}, ")), "{line}");
    counted(&daemon, &["http_refused_total", "kind=\"server\""], 1.0);
    assert!(waiting.closed());
    let line = daemon.wait_line(", buffer event timeout");
    assert!(line.contains("relay silent, session "), "{line}");
    counted(&daemon, &["relay_sessions_timeout_total"], 1.0);
    drop(client);
    thread.join().unwrap();
}
