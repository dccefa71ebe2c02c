//! Bad clients and bad servers: each is answered as documented, logged by name, counted by kind, and costs nobody else anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use support::client::Http;
use support::daemon::Settings;
use support::wait::{BOUND, until, until_true, within};
use support::{Daemon, DnsServer, Server, UdpServer, get, port};

/// Longest time in which somebody must be served who does nothing wrong, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A daemon with one relay process and metrics.
fn daemon(config: &str) -> Daemon {
    let settings = Settings {
        metrics: Some(port()),
        ..Settings::default()
    };
    let head = "prefork 1\nlog connection\n";
    Daemon::with(settings, &format!("{head}{config}"))
}

/// A relay `www` for HTTP whose protocol and block have these lines, towards one host.
fn http_relay(at: u16, host: u16, protocol: &str, relay: &str) -> String {
    format!(
        "table <web> {{ 127.0.0.1 }}
http protocol web {{
	return error
	{protocol}
}}
relay www {{
	listen on 127.0.0.1 port {at}
	protocol web
	forward to <web> port {host}
	{relay}
}}
"
    )
}

/// Value of a metric whose line has all these parts; 0 if there is none.
fn metric(daemon: &Daemon, parts: &[&str]) -> f64 {
    daemon
        .metrics()
        .lines()
        .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Waits until a metric is at least so much.
fn counted(daemon: &Daemon, parts: &[&str], least: f64) {
    let mut seen = 0.0;
    let found = support::wait::within_or_none(BOUND, || {
        seen = metric(daemon, parts);
        (seen >= least).then_some(())
    });
    assert!(found.is_some(), "{parts:?} is {seen}, not {least}");
}

/// Resident memory of the relay process in bytes.
fn memory(daemon: &Daemon) -> u64 {
    let relay = daemon.role("socket relay engine");
    let text = std::fs::read_to_string(format!("/proc/{}/statm", relay[0].pid)).unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A connection from an address of our own, as another client.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SockAddr::from(SocketAddr::from((from, 0))))
        .unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream
}

/// Whether the other side has closed, without waiting for it.
fn open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let answer = stream.peek(&mut [0]);
    matches!(answer, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// One request from another address; fails if it is not served at once.
fn bystander(at: u16) {
    let began = Instant::now();
    let mut stream = connect_from(Ipv4Addr::new(127, 0, 0, 9), local(at));
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(began.elapsed() < AT_ONCE, "took {:?}", began.elapsed());
}

#[test]
fn a_flood_from_one_client_leaves_others_their_place() {
    let web = Server::http("web");
    let at = port();
    let daemon = daemon(&http_relay(at, web.port(), "", "session max per client 20"));
    let mut held = Vec::new();
    for number in 0..3000 {
        held.push(TcpStream::connect(local(at)).unwrap());
        if number % 500 == 0 {
            bystander(at);
        }
    }
    bystander(at);
    counted(
        &daemon,
        &["sessions_refused_total", "limit=\"client\""],
        2980.0,
    );
    until_true("only so many are open", || {
        held.iter().filter(|stream| open(stream)).count() == 20
    });
    let line = daemon.wait_line("refused: too many sessions of the client");
    assert!(
        line.contains("relay www: ") && line.contains(" of 127.0.0.1 "),
        "{line}"
    );
    // The places are free again.
    drop(held);
    until_true("the client is served again", || get(local(at), "/").is_ok());
}

#[test]
fn a_relay_has_no_more_sessions_than_it_may() {
    let web = Server::http("web");
    let at = port();
    let daemon = daemon(&http_relay(at, web.port(), "", "session max 10"));
    let held: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(local(at)).unwrap())
        .collect();
    counted(
        &daemon,
        &["sessions_refused_total", "limit=\"relay\""],
        40.0,
    );
    until_true("ten are open", || {
        held.iter().filter(|stream| open(stream)).count() == 10
    });
    daemon.wait_line("refused: too many sessions of the relay");
}

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
    let reader = std::thread::spawn(move || {
        let (mut total, mut few) = (0, vec![0; 65536]);
        // Fewer than the rate asks for, until the connection is gone.
        let end = Instant::now() + BOUND;
        while Instant::now() < end
            && let Ok(count @ 1..) = slow.read(&mut few)
        {
            total += count;
            std::thread::park_timeout(Duration::from_millis(200));
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
    // Whoever pauses for a moment, or waits for the server, is not slow.
    assert!(reader.join().unwrap() < 50_000_000);
    drop(still);
}

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
    let (host, thread) = rude(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        1,
    );
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
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    // It must not look complete.
    assert!(!answer.contains("\r\n0\r\n"), "{answer}");
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

#[test]
fn a_connection_without_its_proxy_header_is_named() {
    let web = Server::http("web");
    let at = port();
    let config = http_relay(at, web.port(), "", "session max per client 2")
        .replace(&format!("port {at}"), &format!("port {at} proxy-protocol"));
    let daemon = daemon(&config);
    let mut client = Http::connect(local(at)).unwrap();
    client
        .send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    assert!(client.closed());
    daemon.wait_line("relay www: no PROXY header from 127.0.0.1, connection closed");
    counted(&daemon, &["proxy_headers_missing_total"], 1.0);
    // The limit is that of the client behind the balancer.
    let ask = |client: &str| {
        let mut http = Http::connect(local(at)).unwrap();
        let header = format!("PROXY TCP4 {client} 127.0.0.1 1000 80\r\n");
        http.send(header.as_bytes()).unwrap();
        let answer = http.ask("GET", "/", &[]);
        (http, answer.is_ok_and(|answer| answer.status == 200))
    };
    let held: Vec<_> = (0..5).map(|_| ask("192.0.2.1")).collect();
    assert_eq!(held.iter().filter(|(_, served)| *served).count(), 2);
    assert!(ask("192.0.2.2").1);
    counted(
        &daemon,
        &["sessions_refused_total", "limit=\"client\""],
        3.0,
    );
}

/// An UDP socket from an address of our own.
fn datagrams_from(from: Ipv4Addr, to: u16) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(local(to)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    socket
}

#[test]
fn one_client_cannot_have_all_flows() {
    let host = UdpServer::at("u", local(port()));
    let at = port();
    let daemon = daemon(&format!(
        "udp protocol any {{ }}
relay any {{
	listen on 127.0.0.1 port {at}
	protocol any
	forward to 127.0.0.1 port {}
	session max per client 5
}}
",
        host.address().port()
    ));
    let sockets: Vec<_> = (0..100)
        .map(|_| datagrams_from(Ipv4Addr::LOCALHOST, at))
        .collect();
    for socket in &sockets {
        socket.send(b"x").unwrap();
    }
    counted(&daemon, &["datagrams_dropped_total", "kind=\"full\""], 95.0);
    counted(
        &daemon,
        &["sessions_refused_total", "limit=\"client\""],
        95.0,
    );
    let other = datagrams_from(Ipv4Addr::new(127, 0, 0, 9), at);
    let answer = within(AT_ONCE, "another client is served", || {
        other.send(b"y").unwrap();
        let mut buffer = [0; 16];
        let count = other.recv(&mut buffer).ok()?;
        Some(buffer[..count].to_vec())
    });
    assert_eq!(answer, b"u:y");
    assert_eq!(host.packets(), 5 + 1);
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn dns_relay(at: u16, host: u16) -> String {
    format!(
        "dns protocol names {{ }}
relay names {{
	listen on 127.0.0.1 port {at}
	protocol names
	forward to 127.0.0.1 port {host}
}}
"
    )
}

#[test]
fn dns_messages_that_nobody_asked_for_or_nobody_can_read_are_dropped() {
    // A server that first gives forged answers, then the true one.
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let host = server.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        server.set_read_timeout(Some(BOUND)).unwrap();
        let mut query = [0; 512];
        let (count, relay) = server.recv_from(&mut query).unwrap();
        let mut answer = query[..count].to_vec();
        answer[2] |= 0x80;
        let mut forged = answer.clone();
        forged[0] ^= 0x55;
        server.send_to(&forged, relay).unwrap();
        let mut other = answer.clone();
        other[13] ^= 1;
        server.send_to(&other, relay).unwrap();
        server.send_to(&answer[..5], relay).unwrap();
        server.send_to(&answer, relay).unwrap();
        // Once more: it was answered already.
        server.send_to(&answer, relay).unwrap();
    });
    let at = port();
    let daemon = daemon(&dns_relay(at, host));
    let client = datagrams_from(Ipv4Addr::LOCALHOST, at);
    client.set_read_timeout(Some(BOUND)).unwrap();
    let good = question(77, "a.example");
    let mut answered = good.clone();
    answered[2] |= 0x80;
    let mut two = good.clone();
    two[5] = 2;
    for bad in [&good[..11], &good[..20], &answered, &two, &[0xff; 1400]] {
        client.send(bad).unwrap();
    }
    counted(
        &daemon,
        &["datagrams_dropped_total", "kind=\"malformed\""],
        5.0,
    );
    client.send(&good).unwrap();
    let mut buffer = [0; 512];
    let count = client.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..count], answered[..]);
    counted(
        &daemon,
        &["datagrams_dropped_total", "kind=\"malformed\""],
        6.0,
    );
    counted(
        &daemon,
        &["datagrams_dropped_total", "kind=\"unknown\""],
        3.0,
    );
    thread.join().unwrap();
}

#[test]
fn a_flood_of_queries_does_not_stop_later_ones() {
    let address = local(port());
    let silent = UdpSocket::bind(address).unwrap();
    let at = port();
    let daemon = daemon(&dns_relay(at, address.port()));
    let before = memory(&daemon);
    let flood = datagrams_from(Ipv4Addr::LOCALHOST, at);
    let query = question(1, "flood.example");
    // What the relay is too busy for the kernel drops, as with any flood.
    for _ in 0..30_000 {
        let _ = flood.send(&query);
    }
    counted(&daemon, &["relay_sessions_total"], 1000.0);
    let grown = memory(&daemon).saturating_sub(before);
    eprintln!("flood of queries: {} KiB", grown / 1024);
    assert!(grown < 20 * 1024 * 1024, "{grown} bytes");
    drop(silent);
    let _server = DnsServer::at(address, Ipv4Addr::new(192, 0, 2, 7));
    let other = datagrams_from(Ipv4Addr::new(127, 0, 0, 9), at);
    let answer = until("another client is answered", || {
        other.send(&question(9, "a.example")).ok()?;
        let mut buffer = [0; 512];
        let count = other.recv(&mut buffer).ok()?;
        Some(buffer[..count].to_vec())
    });
    assert!(answer.ends_with(&[192, 0, 2, 7]));
}
