//! Relays that use addresses which are not the balancer's: servers see clients, relays see where clients wanted to go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Daemon, Netns, Settings, wait};

const CLIENTS: [&str; 2] = ["198.51.100.2", "2001:db8:c::2"];
const FRONT: [&str; 2] = ["198.51.100.1", "2001:db8:c::1"];
const BACK: [&str; 2] = ["192.0.2.1", "2001:db8:5::1"];
const SERVERS: [&str; 2] = ["192.0.2.2", "2001:db8:5::2"];
/// Of the rule and of the route.
const TABLE: &str = "7497068";

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Client, balancer, server in a row; the balancer routes nothing by itself.
struct Network {
    client: Netns,
    balancer: Netns,
    server: Netns,
}

impl Network {
    fn new() -> Network {
        let network = Network {
            client: Netns::new("client"),
            balancer: Netns::new("balancer"),
            server: Netns::new("server"),
        };
        let with = |address: &str| match address.contains(':') {
            true => format!("{address}/64"),
            false => format!("{address}/24"),
        };
        let join = |outer: &Netns, theirs: [&str; 2], name: &str, ours: [&str; 2]| {
            let (theirs, ours) = (theirs.map(with), ours.map(with));
            Netns::join(
                (outer, "eth0", &[&theirs[0], &theirs[1]]),
                (&network.balancer, name, &[&ours[0], &ours[1]]),
            );
        };
        join(&network.client, CLIENTS, "front", FRONT);
        join(&network.server, SERVERS, "back", BACK);
        for (netns, gateways) in [(&network.client, FRONT), (&network.server, BACK)] {
            netns.ip(&["route", "add", "default", "via", gateways[0]]);
            netns.ip(&["-6", "route", "add", "default", "via", gateways[1]]);
        }
        network.balancer.sysctl("net.ipv4.conf.all.rp_filter", "1");
        network
    }

    fn daemon(&self, config: &str) -> Daemon {
        let settings = Settings {
            backend: "nftables",
            netns: Some(&self.balancer),
            ..Settings::default()
        };
        Daemon::with(settings, config)
    }

    /// A conversation of the client.
    fn connect(&self, to: SocketAddr) -> std::io::Result<Talk> {
        self.client.run(move || Talk::with(to))
    }

    /// What a server says to one datagram.
    fn ask(&self, to: SocketAddr) -> Option<String> {
        self.client.run(move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            // Only an answer from where it was sent arrives.
            socket.connect(to).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(1)))
                .unwrap();
            socket.send(b"who am I?").ok()?;
            let mut answer = [0; 100];
            let length = socket.recv(&mut answer).ok()?;
            Some(String::from_utf8_lossy(&answer[..length]).into_owned())
        })
    }

    /// Our rules and routes, one line each, of both families.
    fn routing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for family in ["-4", "-6"] {
            let rules = self.balancer.text("ip", &[family, "rule"]);
            let ours = rules.lines().filter(|line| line.contains(TABLE));
            lines.extend(ours.map(|line| format!("{family} {line}")));
            let routes = self
                .balancer
                .exec("ip", &[family, "route", "show", "table", TABLE]);
            let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
            lines.extend(routes.lines().map(|line| format!("{family} {line}")));
        }
        lines
    }

    fn ruleset(&self) -> String {
        self.balancer.text("nft", &["list", "ruleset"])
    }
}

/// A connection to a witness.
#[derive(Debug)]
struct Talk {
    stream: BufReader<TcpStream>,
    /// Client's address as the server sees it.
    seen: String,
}

impl Talk {
    fn with(to: SocketAddr) -> std::io::Result<Talk> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut stream = BufReader::new(stream);
        let mut seen = String::new();
        match stream.read_line(&mut seen)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Talk {
                stream,
                seen: seen.trim().to_owned(),
            }),
        }
    }

    /// Sends bytes there and back.
    fn exchange(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        let mut back = vec![0; bytes.len()];
        self.stream.read_exact(&mut back)?;
        assert_eq!(back, bytes);
        Ok(())
    }
}

/// Servers that tell every client its address, over TCP and UDP on both families.
struct Witness {
    running: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Witness {
    fn new(netns: &Netns, port: u16) -> Witness {
        let running = Arc::new(AtomicBool::new(true));
        let mut threads = Vec::new();
        for address in SERVERS.map(|a| at(a, port)) {
            let (listener, socket) = netns.run(move || {
                let listener = TcpListener::bind(address).unwrap();
                (listener, UdpSocket::bind(address).unwrap())
            });
            listener.set_nonblocking(true).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let go = Arc::clone(&running);
            threads.push(std::thread::spawn(move || {
                let mut buffer = [0; 100];
                while go.load(Ordering::Relaxed) {
                    if let Ok((_, client)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(client.ip().to_string().as_bytes(), client);
                    }
                    while let Ok((stream, client)) = listener.accept() {
                        std::thread::spawn(move || testify(stream, client.ip()));
                    }
                }
            }));
        }
        Witness { running, threads }
    }
}

fn testify(mut stream: TcpStream, client: IpAddr) {
    stream.set_nonblocking(false).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let _ = writeln!(stream, "{client}");
    let _ = std::io::copy(&mut reader, &mut stream);
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const GLOBALS: &str = "interval 1
timeout 500
prefork 2
log connection
udp protocol \"any\"
table <four> { 192.0.2.2 }
table <six> { 2001:db8:5::2 }
";

fn transparent() -> String {
    format!(
        "{GLOBALS}
relay tcp4 {{
	listen on 198.51.100.1 port 8080
	transparent forward to <four> port 80 check tcp
}}
relay tcp6 {{
	listen on 2001:db8:c::1 port 8080
	transparent forward to <six> port 80 check tcp
}}
relay udp4 {{
	listen on 198.51.100.1 port 8081
	protocol \"any\"
	transparent forward to <four> port 80 check tcp
}}
relay udp6 {{
	listen on 2001:db8:c::1 port 8081
	protocol \"any\"
	transparent forward to <six> port 80 check tcp
}}
"
    )
}

fn wait_up(daemon: &Daemon) {
    let hosts = SERVERS.map(|server| ("host", server, "up"));
    daemon.wait_rows(&hosts);
}

#[test]
fn servers_see_the_addresses_of_clients() {
    needs_namespaces!();
    let network = Network::new();
    let _witness = Witness::new(&network.server, 80);
    // What an earlier version of the daemon may have left.
    for priority in ["200", "201"] {
        network.balancer.ip(&[
            "rule",
            "add",
            "priority",
            priority,
            "fwmark",
            "0x1000000/0x1000000",
            "table",
            TABLE,
            "protocol",
            "114",
        ]);
    }
    let daemon = network.daemon(&transparent());
    wait_up(&daemon);
    for (front, client) in FRONT.into_iter().zip(CLIENTS) {
        let mut talk = network.connect(at(front, 8080)).unwrap();
        assert_eq!(talk.seen, client);
        talk.exchange(&[7; 100_000]).unwrap();
        let seen = wait::until("an answer to a datagram", || network.ask(at(front, 8081)));
        assert_eq!(seen, client);
    }
    for (client, server) in CLIENTS.into_iter().zip(SERVERS) {
        daemon.wait_line(&format!("{client} -> {server}:80, done"));
    }
    let routing = network.routing();
    assert_eq!(routing.len(), 4, "{routing:#?}");
    assert!(routing[0].contains("100:"), "{routing:#?}");
    let rules = network.ruleset();
    assert!(
        rules.contains("socket transparent 1 jump answers"),
        "{rules}"
    );
    // Nothing was wrong with this system.
    let lines = daemon.lines_since(0).join("\n");
    assert!(!lines.contains("sysctl"), "{lines}");

    let (status, lines) = daemon.stop();
    assert!(status.success(), "{lines:#?}");
    assert_eq!(network.routing(), [""; 0]);
    assert_eq!(network.ruleset(), "");
}

#[test]
fn what_relays_need_survives_crashes_and_meddling() {
    needs_namespaces!();
    let network = Network::new();
    let _witness = Witness::new(&network.server, 80);
    let mut daemon = network.daemon(&transparent());
    wait_up(&daemon);
    let mut talks: Vec<Talk> = FRONT
        .map(|front| network.connect(at(front, 8080)).unwrap())
        .into();
    let routing = network.routing();
    for _ in 0..3 {
        let pfe = &daemon.role("pf update engine")[0];
        daemon.kill(pfe);
        wait::until_true("pfe is back", || {
            let now = daemon.role("pf update engine");
            now.len() == 1
                && now[0].pid != pfe.pid
                && daemon.relayctl(&["show", "summary"]).code == 0
        });
        for talk in &mut talks {
            talk.exchange(b"still here").unwrap();
        }
    }
    // Routing that was adopted is neither lost nor doubled.
    assert_eq!(network.routing(), routing);

    network.balancer.ip(&["rule", "del", "priority", "100"]);
    network
        .balancer
        .ip(&["-6", "route", "flush", "table", TABLE]);
    daemon.wait_line("policy routing of relays was removed by somebody else and is restored");
    wait::until_true("all is restored", || network.routing() == routing);
    for (talk, client) in talks.iter_mut().zip(CLIENTS) {
        talk.exchange(b"still here").unwrap();
        assert_eq!(talk.seen, client);
    }

    assert_eq!(daemon.relayctl(&["purge"]).code, 0);
    assert_eq!(network.routing(), routing);
    for (front, client) in FRONT.into_iter().zip(CLIENTS) {
        assert_eq!(network.connect(at(front, 8080)).unwrap().seen, client);
    }

    // A reload without such relays takes everything away, the established sessions' share too.
    daemon.configure(&transparent().replace("transparent forward", "forward"));
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    wait::until_true("routing is gone", || network.routing().is_empty());
    wait::until_true("rules are gone", || !network.ruleset().contains("answers"));
    for (front, back) in FRONT.into_iter().zip(BACK) {
        assert_eq!(network.connect(at(front, 8080)).unwrap().seen, back);
    }
    daemon.signal(Signal::SIGTERM);
    daemon.wait_end();
}

fn diverting() -> String {
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
    let daemon = network.daemon(&diverting());
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
fn settings_that_make_relays_useless_are_named_with_their_cure() {
    needs_namespaces!();
    let network = Network::new();
    let _witness = Witness::new(&network.server, 80);
    let balancer = &network.balancer;
    balancer.sysctl("net.ipv4.conf.back.src_valid_mark", "1");
    let daemon = network.daemon(&transparent());
    wait_up(&daemon);
    let line = daemon.wait_line("martians");
    let cure = "; sysctl -w net.ipv4.conf.back.src_valid_mark=0";
    assert!(
        line.contains("relay tcp4: ") && line.ends_with(cure),
        "{line}"
    );
    // It is true, and the cure helps.
    assert!(network.connect(at(FRONT[0], 8080)).is_err());
    balancer.sysctl("net.ipv4.conf.back.src_valid_mark", "0");
    let talk = wait::until("a connection", || network.connect(at(FRONT[0], 8080)).ok());
    assert_eq!(talk.seen, CLIENTS[0]);
    // A reload does not repeat it.
    balancer.sysctl("net.ipv4.conf.back.src_valid_mark", "1");
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    let (_, lines) = daemon.stop();
    let told = lines.iter().filter(|line| line.contains("martians"));
    assert_eq!(told.count(), 1, "{lines:#?}");

    balancer.sysctl("net.ipv4.conf.back.src_valid_mark", "0");
    balancer.sysctl("net.ipv4.tcp_fwmark_accept", "1");
    let daemon = network.daemon(&diverting());
    daemon.wait_line("; sysctl -w net.ipv4.tcp_fwmark_accept=0");
    assert!(network.connect(at(SERVERS[0], 80)).is_err());
    balancer.sysctl("net.ipv4.tcp_fwmark_accept", "0");
    let talk = wait::until("a connection", || network.connect(at(SERVERS[0], 80)).ok());
    assert_eq!(talk.seen, CLIENTS[0]);
    drop(daemon);

    let settings = Settings {
        netns: Some(balancer),
        ..Settings::default()
    };
    let daemon = Daemon::with(settings, &diverting());
    daemon.wait_line("relay tcp4: transparent: servers' answers");
    daemon.wait_line("relay tcp6: forward to destination: connections to other addresses");
    assert_eq!(network.routing(), [""; 0]);
}

#[test]
fn the_rules_of_relays_are_shown_without_any_right() {
    let scratch = support::Scratch::new();
    let file = scratch.write("relayd.conf", &diverting());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_relayd"))
        .args(["-n", "--rules", "nftables", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for expected in [
        "type filter hook prerouting priority mangle; policy accept;",
        "meta nfproto ipv6 tcp dport 80 tproxy ip6 to :80 meta mark set meta mark | 0x01000000 accept",
        "# ip rule add priority 100 fwmark 0x01000000/0x01000000 lookup 7497068",
        "# ip -6 route add local default dev lo table 7497068",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}
