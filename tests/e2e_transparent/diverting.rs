//! `forward to destination` and `nat lookup`: relays see where clients wanted to go.

use crate::support::wait;
use crate::{BACK, CLIENTS, FRONT, GLOBALS, Network, SERVERS, Witness, at, needs_namespaces};

/// Relays of both families, over TCP and UDP.
pub fn config() -> String {
    format!(
        "{GLOBALS}
relay tcp4 {{
	listen on 0.0.0.0 port 80
	transparent forward to destination
}}
relay tcp6 {{
	listen on :: port 80
	forward to destination
}}
relay udp4 {{
	listen on 0.0.0.0 port 81
	protocol \"any\"
	transparent forward to destination
}}
relay udp6 {{
	listen on :: port 81
	protocol \"any\"
	forward to destination
}}
"
    )
}

#[test]
fn relays_see_where_clients_wanted_to_go() {
    needs_namespaces!();
    let network = Network::new();
    let _witness = Witness::new(&network.server, 80);
    let _others = [81, 82].map(|port| Witness::new(&network.server, port));
    let daemon = network.daemon(&config());
    let seen = [CLIENTS[0], BACK[1]];
    for (server, seen) in SERVERS.into_iter().zip(seen) {
        // Addressed to the server, and the balancer does not route.
        let mut talk = wait::until("a diverted connection", || {
            network.connect(at(server, 80)).ok()
        });
        assert_eq!(talk.seen, seen);
        talk.exchange(&[9; 100_000]).unwrap();
        let listing = daemon.relayctl(&["show", "sessions"]).stdout;
        let target = format!(" -> {server}:80\t");
        assert!(listing.contains(&target), "{listing:?} {target:?}");
        let answer = wait::until("an answer to a datagram", || network.ask(at(server, 81)));
        assert_eq!(answer, seen);
        // Another port is none of the relay's business.
        assert!(network.connect(at(server, 82)).is_err());
    }
    for (client, server) in CLIENTS.into_iter().zip(SERVERS) {
        daemon.wait_line(&format!("{client} -> {server}:80, done"));
    }
    // Who means the balancer itself would be led in a circle, also where any address may be bound.
    for bindable in ["0", "1"] {
        let balancer = &network.balancer;
        balancer.sysctl("net.ipv4.ip_nonlocal_bind", bindable);
        balancer.sysctl("net.ipv6.ip_nonlocal_bind", bindable);
        for (front, client) in FRONT.into_iter().zip(CLIENTS) {
            let mark = daemon.lines_since(0).len();
            let error = network.connect(at(front, 80)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
            let line = daemon.wait_line_since(mark, &format!("{client} -> "));
            assert!(line.contains("session aborted"), "{line}");
        }
        for server in SERVERS {
            assert!(network.connect(at(server, 80)).is_ok(), "{server}");
        }
    }
    assert_eq!(network.routing().len(), 4);
    let (status, _) = daemon.stop();
    assert!(status.success());
    assert_eq!(network.routing(), [""; 0]);
    assert_eq!(network.ruleset(), "");
}

#[test]
fn an_administrator_may_divert_and_filter() {
    needs_namespaces!();
    let network = Network::new();
    let _witness = Witness::new(&network.server, 80);
    let daemon = network.daemon(&format!(
        "{GLOBALS}
relay tcp4 {{
	listen on 127.0.0.1 port 8080
	transparent forward to destination
}}
relay tcp6 {{
	listen on ::1 port 8080
	transparent forward to destination
}}
"
    ));
    let load = |name: &str, text: &str| {
        let path = daemon.scratch().write(name, text);
        network
            .balancer
            .text("nft", &["-f", path.to_str().unwrap()]);
    };
    // The firewall of somebody who forbids everything, as in docs/nftables.md.
    load(
        "firewall",
        "table inet firewall {
	chain divert {
		type filter hook prerouting priority mangle; policy accept;
		iifname \"front\" tcp dport 80 tproxy ip to 127.0.0.1:8080 meta mark set meta mark | 0x01000000 accept
		iifname \"front\" tcp dport 80 tproxy ip6 to [::1]:8080 meta mark set meta mark | 0x01000000 accept
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		meta l4proto ipv6-icmp accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
",
    );
    for server in SERVERS {
        assert!(network.connect(at(server, 80)).is_err(), "{server}");
    }
    load(
        "permission",
        "add rule inet firewall input meta mark & 0x01000000 == 0x01000000 accept\n",
    );
    for (server, client) in SERVERS.into_iter().zip(CLIENTS) {
        let mut talk = wait::until("a diverted connection", || {
            network.connect(at(server, 80)).ok()
        });
        assert_eq!(talk.seen, client);
        talk.exchange(b"through the wall").unwrap();
        drop(talk);
        daemon.wait_line(&format!("{client} -> {server}:80, done"));
    }
    let (status, _) = daemon.stop();
    assert!(status.success());
    // What is not ours stays.
    assert!(network.ruleset().starts_with("table inet firewall {"));
}

#[test]
fn the_destination_before_translation_is_found() {
    needs_namespaces!();
    let network = Network::new();
    let _witness = Witness::new(&network.server, 80);
    let daemon = network.daemon(&format!(
        "{GLOBALS}
relay nat4 {{
	listen on 0.0.0.0 port 8022
	forward to nat lookup retry 1
}}
relay nat6 {{
	listen on :: port 8022
	transparent forward to nat lookup
}}
"
    ));
    let rules = daemon.scratch().write(
        "nat",
        "table inet administrator {
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		iifname \"front\" tcp dport 80 redirect to :8022
	}
}
",
    );
    network
        .balancer
        .text("nft", &["-f", rules.to_str().unwrap()]);
    let seen = [BACK[0], CLIENTS[1]];
    for ((server, seen), client) in SERVERS.into_iter().zip(seen).zip(CLIENTS) {
        let talk = network.connect(at(server, 80)).unwrap();
        assert_eq!(talk.seen, seen);
        let listing = daemon.relayctl(&["show", "sessions"]).stdout;
        let target = format!(" -> {server}:80\t");
        assert!(listing.contains(&target), "{listing:?} {target:?}");
        drop(talk);
        daemon.wait_line(&format!("{client} -> {server}:80, done"));
    }
    // Nobody translated this one.
    for front in FRONT {
        let mark = daemon.lines_since(0).len();
        assert!(network.connect(at(front, 8022)).is_err());
        daemon.wait_line_since(mark, "session NAT lookup failed");
    }
}

#[test]
fn an_interface_limits_what_is_diverted() {
    needs_namespaces!();
    let network = Network::new();
    let _witnesses = [80, 81].map(|port| Witness::new(&network.server, port));
    // Clients come in at the front.
    let mut text = config();
    for (listener, interface) in [
        ("0.0.0.0 port 80", "front"),
        (":: port 80", "back"),
        ("0.0.0.0 port 81", "back"),
        (":: port 81", "front"),
    ] {
        text = text.replace(
            &format!("listen on {listener}\n"),
            &format!("listen on {listener} interface {interface}\n"),
        );
    }
    let daemon = network.daemon(&text);
    let [four, six] = SERVERS;
    let talk = wait::until("a diverted connection", || {
        network.connect(at(four, 80)).ok()
    });
    assert_eq!(talk.seen, CLIENTS[0]);
    wait::until("an answer to a datagram", || network.ask(at(six, 81)));
    // The balancer routes nothing, and these come in elsewhere.
    assert!(network.connect(at(six, 80)).is_err());
    assert_eq!(network.ask(at(four, 81)), None);
    let rules = network.ruleset();
    let rule = "iifname \"front\" meta nfproto ipv4 tcp dport 80 tproxy ip to :80";
    assert!(rules.contains(rule), "{rules}");
    // What is written is what runs.
    let file = daemon.file();
    let words = ["-n", "--rules", "nftables", "-f", file.to_str().unwrap()];
    let relayd = env!("CARGO_BIN_EXE_relayd");
    let printed = network.balancer.text(relayd, &words);
    assert!(printed.contains(rule), "{printed}");
    let words = ["-nv", "-f", file.to_str().unwrap()];
    let shown = network.balancer.exec(relayd, &words);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("listen on :: port 80 interface back\n"),
        "{shown}"
    );
}
