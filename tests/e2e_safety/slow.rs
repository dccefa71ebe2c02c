//! Slow clients: heads, bodies and responses have their time.

use super::*;
use crate::support::client::Http;
use crate::support::wait::{BOUND, until_true};
use crate::support::{Server, port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
fn slow_heads_cost_little_memory_and_nobody_else_waits() {
    let web = Server::http("web");
    let at = port();
    let daemon = daemon(&http_relay(at, web.port(), "http head timeout 4", ""));
    bystander(at);
    let before = memory(&daemon);
    let mut slow: Vec<_> = (0..500)
        .map(|_| TcpStream::connect(local(at)).unwrap())
        .collect();
    for stream in &mut slow {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: slow\r\nX-")
            .unwrap();
    }
    let began = Instant::now();
    let mut most = 0;
    until_true("the slow ones are refused", || {
        // A byte now and then does not help them.
        for stream in &mut slow {
            let _ = stream.write_all(b"a");
        }
        bystander(at);
        most = most.max(memory(&daemon).saturating_sub(before));
        metric(&daemon, &["http_refused_total", "kind=\"head_timeout\""]) >= 500.0
    });
    assert!(began.elapsed() >= Duration::from_secs(3), "too early");
    eprintln!("500 slow clients: {} KiB", most / 1024);
    assert!(most < 500 * 16 * 1024, "{most} bytes for 500 clients");
    let mut answer = String::new();
    slow[0].set_read_timeout(Some(BOUND)).unwrap();
    let _ = slow[0].read_to_string(&mut answer);
    assert!(
        answer.starts_with("HTTP/1.0 408 Request Timeout\r\n"),
        "{answer}"
    );
    daemon.wait_line("127.0.0.1 -> :0, request timeout (408 Request Timeout)");
}

/// Sends a byte of a body now and then until the relay answers; the answer.
fn trickle(at: u16, pause: Option<Duration>) -> String {
    let mut stream = TcpStream::connect(local(at)).unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: slow\r\nContent-Length: 100000\r\n\r\nabc")
        .unwrap();
    stream
        .set_read_timeout(Some(pause.unwrap_or(BOUND)))
        .unwrap();
    let end = Instant::now() + BOUND;
    let mut answer = [0; 200];
    loop {
        match stream.read(&mut answer) {
            Ok(count) => return String::from_utf8_lossy(&answer[..count]).into_owned(),
            Err(_) if pause.is_some() && Instant::now() < end => {
                let _ = stream.write_all(b"x");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn slow_bodies_and_slow_readers_are_sent_away() {
    let web = Server::http("web");
    let (patient, strict) = (port(), port());
    let daemon = daemon(&format!(
        "table <web> {{ 127.0.0.1 }}
http protocol patient {{ return error
	http body timeout 2 }}
http protocol strict {{ return error
	http {{ body timeout 3, body rate 1000000 }} }}
relay patient {{
	listen on 127.0.0.1 port {patient}
	protocol patient
	forward to <web> port {web}
}}
relay strict {{
	listen on 127.0.0.1 port {strict}
	protocol strict
	forward to <web> port {web}
}}
",
        web = web.port()
    ));
    // Readers that take nothing, or too little.
    let big = b"GET /big/50000000 HTTP/1.1\r\nHost: slow\r\n\r\n";
    let mut still = TcpStream::connect(local(patient)).unwrap();
    still.write_all(big).unwrap();
    let mut slow = TcpStream::connect(local(strict)).unwrap();
    slow.write_all(big).unwrap();
    slow.set_read_timeout(Some(BOUND)).unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let cut = Arc::clone(&told);
    let reader = std::thread::spawn(move || {
        let (mut total, mut few) = (0, vec![0; 65536]);
        // Fewer than the rate asks for, until the relay has had enough; then whatever is left.
        while let Ok(count @ 1..) = slow.read(&mut few) {
            total += count;
            if !cut.load(SeqCst) {
                std::thread::park_timeout(Duration::from_millis(200));
            }
        }
        total
    });
    let answer = trickle(patient, None);
    assert!(
        answer.starts_with("HTTP/1.0 408 Request Timeout\r\n"),
        "{answer}"
    );
    let answer = trickle(strict, Some(Duration::from_millis(200)));
    assert!(
        answer.starts_with("HTTP/1.0 408 Request Timeout\r\n"),
        "{answer}"
    );
    bystander(patient);
    bystander(strict);
    for (relay, reason, kind) in [
        (
            "patient",
            "request timeout (408 Request Timeout)",
            "body_timeout",
        ),
        (
            "strict",
            "request too slow (408 Request Timeout)",
            "body_rate",
        ),
        ("patient", "response timeout", "response_timeout"),
        ("strict", "response too slow", "response_rate"),
    ] {
        counted(
            &daemon,
            &["http_refused_total", &format!("kind=\"{kind}\"")],
            1.0,
        );
        let line = daemon.wait_line(&format!(", {reason}"));
        assert!(line.contains(&format!("relay {relay}, session ")), "{line}");
        assert!(line.contains(", 127.0.0.1 -> "), "{line}");
    }
    told.store(true, SeqCst);
    let total = reader.join().unwrap();
    assert!((1..50_000_000).contains(&total), "{total}");
    drop(still);
}

#[test]
fn who_says_nothing_is_sent_away_but_may_pause_between_requests() {
    let web = Server::http("web");
    let at = port();
    let daemon = daemon(&http_relay(at, web.port(), "http head timeout 2", ""));
    let mut pausing = Http::connect(local(at)).unwrap();
    assert_eq!(pausing.ask("GET", "/", &[]).unwrap().status, 200);
    let began = Instant::now();
    let silent: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(local(at)).unwrap())
        .collect();
    for mut stream in silent {
        stream.set_read_timeout(Some(BOUND)).unwrap();
        // Nothing was asked, so nothing is answered.
        let mut answer = Vec::new();
        assert_eq!(stream.read_to_end(&mut answer).unwrap(), 0);
    }
    assert!(began.elapsed() >= Duration::from_secs(2), "too early");
    counted(
        &daemon,
        &["http_refused_total", "kind=\"head_timeout\""],
        50.0,
    );
    daemon.wait_line("127.0.0.1 -> :0, request timeout");
    assert_eq!(pausing.ask("GET", "/", &[]).unwrap().status, 200);
}
