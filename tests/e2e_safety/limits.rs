//! Floods of connections: limits of sessions, and who is refused by them.

use super::*;
use crate::support::client::Http;
use crate::support::wait::until_true;
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
