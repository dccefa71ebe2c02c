//! Bad clients and bad servers: each is answered as documented, logged by name, counted by kind, and costs nobody else anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../support/mod.rs"]
mod support;

mod datagrams;
mod limits;
mod slow;
mod wire;

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::daemon::Settings;
use support::wait::BOUND;
use support::{Daemon, port};

/// Longest time in which somebody must be served who does nothing wrong, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A daemon with one relay process and metrics.
fn daemon(config: &str) -> Daemon {
    daemon_of(1, config)
}

/// The same with several.
fn daemon_of(processes: usize, config: &str) -> Daemon {
    let settings = Settings {
        metrics: Some(port()),
        ..Settings::default()
    };
    let head = format!("prefork {processes}\nlog connection\n");
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
