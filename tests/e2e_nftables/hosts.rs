//! Who serves after switches, and what happens to the flows of a host that is lost.

use crate::needs_namespaces;
use crate::support::client::Echo;
use crate::support::network::Network;
use crate::support::{UdpServer, wait};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

#[test]
fn switches_and_the_backup_table_change_who_serves() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let daemon = network.daemon(
        &[],
        "interval 1
timeout 500
prefork 1
log state changes
table <main> { 192.0.2.18 192.0.2.34 }
table <backup> { 192.0.2.50 }
table <off> disable { 192.0.2.18 }
redirect r {
	listen on 198.51.100.1 port 8080
	forward to <main> port 80 check tcp
	forward to <backup> port 80 check tcp
}
redirect sleeping {
	disable
	listen on 198.51.100.1 port 8081
	forward to <main> port 80 check tcp
}
redirect without {
	listen on 198.51.100.1 port 8082
	forward to <off> port 80 check tcp
}
",
    );
    daemon.wait_rows(&[
        ("table", "main:80", "active (2 hosts)"),
        ("table", "backup:80", "active (1 hosts)"),
        ("redirect", "r", "active"),
        ("redirect", "sleeping", "disabled"),
    ]);
    // One transaction put both hosts in.
    daemon.wait_line("table r: 2 added, 0 deleted, 0 changed, 0 killed");
    let at = |port: u16| SocketAddr::new("198.51.100.1".parse().unwrap(), port);
    let serve = |port: u16, wanted: &[&str]| {
        let wanted = wanted.iter().map(|n| (*n).to_owned()).collect();
        let what = format!("port {port} is served by {wanted:?}");
        wait::until_true(&what, || network.names(at(port), 4) == wanted);
    };
    let refused = |port: u16| {
        let names = network.names(at(port), 1);
        assert!(names.iter().all(|n| n.contains("refused")), "{names:?}");
    };
    serve(8080, &["1", "2"]);
    refused(8081);
    refused(8082);
    let relayctl = |words: &[&str]| assert_eq!(daemon.relayctl(words).code, 0, "{words:?}");
    relayctl(&["redirect", "enable", "sleeping"]);
    daemon.wait_status("redirect", "sleeping", "active");
    serve(8081, &["1", "2"]);
    relayctl(&["table", "enable", "off:80"]);
    daemon.wait_status("redirect", "without", "active");
    serve(8082, &["1"]);
    relayctl(&["table", "disable", "main:80"]);
    daemon.wait_status("redirect", "r", "active (using backup table)");
    serve(8080, &["3"]);
    relayctl(&["table", "disable", "backup:80"]);
    daemon.wait_status("redirect", "r", "down");
    refused(8080);
    relayctl(&["table", "enable", "main:80"]);
    daemon.wait_status("redirect", "r", "active");
    serve(8080, &["1", "2"]);
    relayctl(&["redirect", "disable", "r"]);
    daemon.wait_status("redirect", "r", "disabled");
    refused(8080);
}

const STATES: &str = "interval 1
timeout 500
prefork 1
log state changes
table <t> { 192.0.2.18 192.0.2.34 }
redirect stream {
	listen on 198.51.100.1 port 8080
	forward to <t> port 80 check tcp
	session timeout 77
}
redirect packets {
	listen on 198.51.100.1 udp port 53
	forward to <t> port 80 check tcp
}
";

/// Sends from a socket that stays; the name of the server that answers.
fn asked(socket: &UdpSocket) -> Option<String> {
    socket.send(b"q").ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    text.strip_suffix(":q").map(ToOwned::to_owned)
}

/// Disables the host that serves both; answers whether the TCP connection lived on.
fn lose_a_host(kill_tcp: bool) -> bool {
    let network = Network::new();
    let _servers = network.serve();
    let _datagrams: Vec<UdpServer> = [("1", 18), ("2", 34)]
        .iter()
        .map(|(name, last)| {
            let at = format!("192.0.2.{last}:80").parse().unwrap();
            let number: usize = name.parse().unwrap();
            UdpServer::inside(&network.servers[number - 1], name, at)
        })
        .collect();
    let option = if kill_tcp { "true" } else { "false" };
    let daemon = network.daemon(&["--kill-tcp", option], STATES);
    daemon.wait_rows(&[
        ("table", "t:80", "active (2 hosts)"),
        ("redirect", "stream", "active"),
        ("redirect", "packets", "active"),
    ]);
    let (mut client, socket) = network.client.run(|| {
        let to: SocketAddr = "198.51.100.1:8080".parse().unwrap();
        let client = wait::until("a connection to 1", || {
            Echo::connect(to).ok().filter(|client| client.name == "1")
        });
        let socket = wait::until("a flow to 1", || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
            socket.connect("198.51.100.1:53").unwrap();
            (asked(&socket)? == "1").then_some(socket)
        });
        (client, socket)
    });
    // The session timeout is that of the connection's entry.
    let entries = network.balancer.text(
        "conntrack",
        &[
            "-L",
            "-p",
            "tcp",
            "--dport",
            "8080",
            "--state",
            "ESTABLISHED",
        ],
    );
    let seconds: u32 = entries.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!((50..=77).contains(&seconds), "{entries}");
    client.exchange(b"before").unwrap();
    let mark = daemon.mark();
    assert_eq!(daemon.relayctl(&["host", "disable", "192.0.2.18"]).code, 0);
    let line = daemon.wait_line_since(mark, "table packets: 0 added, 1 deleted");
    assert!(!line.contains(" 0 killed"), "{line}");
    // The same socket reaches the other server: its old entry is gone.
    assert_eq!(asked(&socket).as_deref(), Some("2"));
    let killed = daemon.wait_line_since(mark, "table stream: 0 added, 1 deleted");
    assert_eq!(killed.contains(" 0 killed"), !kill_tcp, "{killed}");
    client.exchange(b"after").is_ok()
}

#[test]
fn datagram_flows_of_a_lost_host_end_and_connections_only_where_asked() {
    needs_namespaces!();
    assert!(lose_a_host(false), "a TCP connection was ended unasked");
    assert!(!lose_a_host(true), "a TCP connection was not ended");
}
