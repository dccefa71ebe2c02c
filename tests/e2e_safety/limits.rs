//! Floods of connections: limits of sessions, and who is refused by them.

use super::*;
use crate::support::client::{Echo, Http};
use crate::support::wait::{until, until_true};
use crate::support::{Server, get, port};
use std::net::TcpStream;

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

/// A relay for TCP with these lines.
fn tcp_relay(name: &str, at: u16, host: u16, lines: &str) -> String {
    format!(
        "relay {name} {{\n\tlisten on 127.0.0.1 port {at}\n\tforward to 127.0.0.1 port {host}\n\t{lines}\n}}\n"
    )
}

#[test]
fn a_clients_limit_is_that_of_all_processes_and_survives_a_crash_and_a_reload() {
    let server = Server::echo("echo");
    let at = port();
    let config = |lines: &str| tcp_relay("r", at, server.port(), lines);
    let daemon = daemon_of(4, &config("session max per client 5"));
    let open = || Echo::connect(local(at)).ok();
    let mut held: Vec<_> = (0..60).filter_map(|_| open()).collect();
    assert_eq!(held.len(), 5);
    let other = || Echo::connect_from(Ipv4Addr::new(127, 0, 0, 9).into(), local(at)).ok();
    let others: Vec<_> = (0..30).filter_map(|_| other()).collect();
    assert_eq!(others.len(), 5);
    counted(
        &daemon,
        &["sessions_refused_total", "limit=\"client\""],
        80.0,
    );
    drop(others);
    // Places of a process that was killed are free, those of the others are not.
    let processes = daemon.role("socket relay engine");
    assert_eq!(processes.len(), 4);
    for process in &processes[..2] {
        daemon.kill(process);
    }
    until_true("the two are dead and replaced", || {
        let now = daemon.role("socket relay engine");
        now.len() == 4
            && processes[..2]
                .iter()
                .all(|old| now.iter().all(|new| new.pid != old.pid))
    });
    held.retain_mut(|echo| echo.exchange(b"still there").is_ok());
    until_true("five places", || {
        held.extend(open());
        held.len() == 5
    });
    assert!((0..40).all(|_| open().is_none()));
    // Sessions of before count under another limit.
    daemon.configure(&format!(
        "prefork 4\nlog connection\n{}",
        config("session max per client 7")
    ));
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    held.extend((0..40).filter_map(|_| open()));
    assert_eq!(held.len(), 7);
    drop(held);
    until_true("the client is served again", || open().is_some());
}

#[test]
fn a_relays_limit_is_exact_over_processes_even_if_it_is_one() {
    let server = Server::echo("echo");
    let (one, five) = (port(), port());
    let _daemon = daemon_of(
        4,
        &format!(
            "{}{}",
            tcp_relay("one", one, server.port(), "session max 1"),
            tcp_relay("five", five, server.port(), "session max 5")
        ),
    );
    for (at, max) in [(one, 1), (five, 5)] {
        let open = || Echo::connect(local(at)).ok();
        let held: Vec<_> = (0..40).filter_map(|_| open()).collect();
        assert_eq!(held.len(), max);
        drop(held);
        // Whichever process the system chooses, it may take the place.
        for _ in 0..20 {
            let echo = until("a place", open);
            assert!(open().is_none() || max > 1);
            drop(echo);
        }
    }
}
