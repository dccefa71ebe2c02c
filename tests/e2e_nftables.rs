//! Redirects in the kernel with the whole daemon: what a crash, a foreign flush, a restart, a reload or a switch does to the
//! connections of clients, in both address families.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use support::client::Echo;
use support::network::Network;
use support::traffic::Traffic;
use support::{Daemon, Netns, Scratch, UdpServer, process, wait};

/// Two redirects with all three servers; `options` stand in both.
fn both(options: &str) -> String {
    format!(
        "interval 1
timeout 500
prefork 1
log state changes
table <four> {{ 192.0.2.18 192.0.2.34 192.0.2.50 }}
table <six> {{ 2001:db8:1::2 2001:db8:2::2 2001:db8:3::2 }}
redirect four {{
	listen on 198.51.100.1 port 8080
	forward to <four> port 80 check tcp
	{options}
}}
redirect six {{
	listen on 2001:db8::1 port 8080
	forward to <six> port 80 check tcp
	{options}
}}
"
    )
}

fn addresses() -> [SocketAddr; 2] {
    ["198.51.100.1:8080", "[2001:db8::1]:8080"].map(|a| a.parse().unwrap())
}

fn wait_all_up(daemon: &Daemon) {
    daemon.wait_rows(&[
        ("table", "four:80", "active (3 hosts)"),
        ("table", "six:80", "active (3 hosts)"),
        ("redirect", "four", "active"),
        ("redirect", "six", "active"),
    ]);
}

/// A connection to each server in each family.
fn hold(network: &Network) -> Vec<Echo> {
    addresses()
        .iter()
        .flat_map(|to| network.held(*to))
        .collect()
}

fn undisturbed(kept: &mut [Echo]) {
    for client in kept {
        let name = client.name.clone();
        let answer = client.exchange(b"undisturbed");
        assert!(answer.is_ok(), "connection to {name}: {answer:?}");
    }
}

/// Kills the packet filter engine, does something while there is none, and waits until the next one took over.
fn replace_filter_engine(daemon: &Daemon, meanwhile: impl FnOnce()) {
    let title = "pf update engine";
    let victim = daemon.role(title).remove(0);
    let mark = daemon.mark();
    daemon.kill(&victim);
    wait::until_true("its end", || !process::alive(victim.pid));
    meanwhile();
    daemon.wait_line_since(mark, "pfe: filter init done");
}

/// What `systemctl reload nftables` does: an administrator's file that begins with `flush ruleset`.
fn reload_nftables_service(balancer: &Netns, scratch: &Scratch) {
    let file = scratch.write(
        "nftables.conf",
        "flush ruleset
table inet admin {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct status dnat accept
	}
}
",
    );
    balancer.text("nft", &["-f", file.to_str().unwrap()]);
}

/// Ten kills, with a flush while there is no engine and one after; a process that died waits longer each time before it is started again.
fn kills_and_flushes_lose_nothing(to: SocketAddr) {
    let network = Network::new();
    let _servers = network.serve();
    let daemon = network.daemon(&[], &both(""));
    wait_all_up(&daemon);
    let mut kept = hold(&network);
    let traffic = Traffic::start(to, Some(&network.client));
    for _ in 0..10 {
        let flush = || reload_nftables_service(&network.balancer, daemon.scratch());
        replace_filter_engine(&daemon, flush);
        flush();
        traffic.flows(20);
        undisturbed(&mut kept);
    }
    wait_all_up(&daemon);
    let good = traffic.good();
    let (refused, broken) = traffic.end();
    println!("{good} connections, {refused} refused, {broken} broken");
    assert_eq!((refused, broken), (0, 0), "of {good}");
    undisturbed(&mut kept);
}

#[test]
fn ten_kills_and_twenty_flushes_lose_no_connection_over_ipv4() {
    needs_namespaces!();
    kills_and_flushes_lose_nothing(addresses()[0]);
}

#[test]
fn ten_kills_and_twenty_flushes_lose_no_connection_over_ipv6() {
    needs_namespaces!();
    kills_and_flushes_lose_nothing(addresses()[1]);
}

#[test]
fn a_table_that_may_not_be_owned_is_restored_at_once() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let daemon = network.daemon(&["--protect-table", "false"], &both(""));
    wait_all_up(&daemon);
    assert!(!network.listing().contains("flags owner"));
    let mut kept = hold(&network);
    let mut times = Vec::new();
    for _ in 0..10 {
        let mark = daemon.mark();
        reload_nftables_service(&network.balancer, daemon.scratch());
        let began = Instant::now();
        daemon.wait_line_since(mark, "was changed by somebody else and is restored");
        times.push(began.elapsed());
        let to = addresses()[0];
        wait::until_true("it serves", || network.names(to, 1).len() == 1);
        undisturbed(&mut kept);
    }
    times.sort_unstable();
    println!("restored after {times:?}");
    // The look at every second would take half a second in the middle.
    assert!(times[5] < Duration::from_millis(250), "{times:?}");
    for to in addresses() {
        let names = network.names(to, 12);
        assert_eq!(names, ["1", "2", "3"].map(str::to_owned).into());
    }
}

/// Elements of the set that says what the marks mean.
fn ids(network: &Network) -> Vec<String> {
    let listing = network.listing();
    let (_, set) = listing.split_once("set ids {").unwrap();
    let (set, _) = set.split_once('}').unwrap();
    let (_, elements) = set.split_once("elements = {").unwrap();
    let mut ids: Vec<String> = elements.split(',').map(|e| e.trim().to_owned()).collect();
    ids.sort();
    ids
}

/// Eight clients in each family, and the server each reaches.
fn clients(network: &Network) -> BTreeMap<IpAddr, String> {
    let [four, six] = addresses();
    network.client.run(move || {
        let from = |n: u8| {
            [
                (format!("198.51.100.{}", 100 + n), four),
                (format!("2001:db8::{:x}", 0x100 + u16::from(n)), six),
            ]
        };
        let one = |(from, to): (String, SocketAddr)| {
            let from: IpAddr = from.parse().unwrap();
            (from, Echo::connect_from(from, to).unwrap().name)
        };
        (0..8).flat_map(from).map(one).collect()
    })
}

#[test]
fn restart_and_reload_keep_numbers_sticky_clients_and_connections() {
    needs_namespaces!();
    let network = Network::new();
    for n in 0..8 {
        let four = format!("198.51.100.{}/24", 100 + n);
        let six = format!("2001:db8::{:x}/64", 0x100 + n);
        network.client.ip(&["addr", "add", &four, "dev", "eth0"]);
        network
            .client
            .ip(&["addr", "add", &six, "dev", "eth0", "nodad"]);
    }
    let _servers = network.serve();
    let sticky = both("sticky-address");
    let mut daemon = network.daemon(&[], &sticky);
    wait_all_up(&daemon);
    // Stickiness begins with the first connection, so these go first.
    let places = clients(&network);
    let used: std::collections::BTreeSet<&String> = places.values().collect();
    assert_eq!(used.len(), 3, "{places:?}");
    let first_ids = ids(&network);
    let mut kept = clients_held(&network, &places);

    // Killed as a whole, and started again.
    let traffic = addresses().map(|to| Traffic::start(to, Some(&network.client)));
    traffic.iter().for_each(|traffic| traffic.flows(10));
    daemon.signal(Signal::SIGKILL);
    traffic.iter().for_each(|traffic| traffic.flows(10));
    daemon.again();
    wait_all_up(&daemon);
    traffic.iter().for_each(|traffic| traffic.flows(10));
    for traffic in traffic {
        assert_eq!(traffic.end(), (0, 0));
    }
    assert_eq!(ids(&network), first_ids);
    assert_eq!(clients(&network), places);
    undisturbed(&mut kept);

    // A reload with one redirect more, in front of the others.
    daemon.configure(&sticky.replace(
        "redirect four",
        "redirect another {\n\tlisten on 198.51.100.1 port 81\n\tforward to <four> port 80 check tcp\n}\nredirect four",
    ));
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    daemon.wait_status("redirect", "another", "active");
    let more = ids(&network);
    assert!(first_ids.iter().all(|id| more.contains(id)), "{more:?}");
    assert_eq!(more.len(), first_ids.len() + 4);
    assert_eq!(clients(&network), places);
    undisturbed(&mut kept);

    // A clean stop: established connections go on, new ones are refused.
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_end().success());
    undisturbed(&mut kept);
    for to in addresses() {
        let answer = network.names(to, 1);
        let text = answer.first().unwrap();
        assert!(text.contains("refused"), "{text}");
    }
    daemon.again();
    wait_all_up(&daemon);
    assert_eq!(clients(&network), places);
    undisturbed(&mut kept);
    assert!(first_ids.iter().all(|id| ids(&network).contains(id)));

    // Everything goes, with its connections, and is made anew.
    assert_eq!(daemon.relayctl(&["purge"]).code, 0);
    assert!(kept.iter_mut().all(|client| client.exchange(b"x").is_err()));
    wait_all_up(&daemon);
    for to in addresses() {
        assert!(network.names(to, 3).iter().all(|name| name.len() == 1));
    }
}

/// A connection of each client, which stays open.
fn clients_held(network: &Network, places: &BTreeMap<IpAddr, String>) -> Vec<Echo> {
    let [four, six] = addresses();
    let from: Vec<IpAddr> = places.keys().copied().collect();
    network.client.run(move || {
        let to = |from: &IpAddr| if from.is_ipv4() { four } else { six };
        let open = |from| Echo::connect_from(from, to(&from)).unwrap();
        from.into_iter().map(open).collect()
    })
}

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

/// A listing without what time changes: counters, the place where round robin goes on, order, owner.
fn normalised(listing: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in listing.replace("\n\t\t\t     ", " ").lines() {
        let line = line.split(" # ").next().unwrap();
        if line.trim().is_empty() || line.trim() == "flags owner" {
            continue;
        }
        let (head, rest) = match line.split_once("{ ") {
            Some((head, rest)) if rest.contains(':') || head.contains("elements") => (head, rest),
            _ => {
                lines.push(line.to_owned());
                continue;
            }
        };
        let mut parts: Vec<&str> = rest.trim_end_matches(" }").split(", ").collect();
        if head.contains("numgen inc") {
            for part in &mut parts {
                *part = part.split_once(" : ").unwrap().1;
            }
        }
        let mut parts: Vec<String> = parts.into_iter().map(without_counter).collect();
        parts.sort();
        lines.push(format!("{head}{{ {}", parts.join(", ")));
    }
    lines.sort();
    lines
}

fn without_counter(element: &str) -> String {
    let words: Vec<&str> = element.split(' ').collect();
    match words.iter().position(|w| *w == "packets") {
        Some(at) => [&words[..at - 1], &words[at + 4..]].concat().join(" "),
        None => element.to_owned(),
    }
}

#[test]
fn the_printed_rules_are_those_of_the_kernel_and_can_be_loaded() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let config = both("sticky-address\n\tpftag web\n\tsession timeout 300");
    let daemon = network.daemon(&[], &config);
    wait_all_up(&daemon);
    let table = support::daemon::table();
    let file = daemon.file();
    let file = file.to_str().unwrap();
    let words = ["-n", "--table", &table, "--rules", "nftables", "-f", file];
    let printed = network.balancer.text(env!("CARGO_BIN_EXE_relayd"), &words);
    let listing = network.listing();
    let (left, right) = (normalised(&printed), normalised(&listing));
    for line in &left {
        assert!(right.contains(line), "not in the kernel: {line}\n{listing}");
    }
    for line in &right {
        assert!(left.contains(line), "not printed: {line}\n{printed}");
    }
    // What nft prints of all there is, another system can load. An owner is a process, which nobody can load.
    let ruleset = network.balancer.text("nft", &["list", "ruleset"]);
    let ruleset: String = ruleset
        .lines()
        .filter(|line| !line.trim().starts_with("flags owner"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let saved = daemon.scratch().write("ruleset", &ruleset);
    let other = &network.servers[0];
    other.text("nft", &["-f", saved.to_str().unwrap()]);
    let loaded = other.text("nft", &["list", "ruleset"]);
    assert_eq!(normalised(&loaded), normalised(&ruleset));
    assert!(process::alive(daemon.pid()));
}

#[test]
fn sessions_packets_and_bytes_of_each_host_are_counted() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let daemon = network.daemon(&["--count-traffic", "true"], &both(""));
    wait_all_up(&daemon);
    let show = || {
        let answer = daemon.relayctl(&["-j", "show", "redirects"]);
        serde_json::from_str::<serde_json::Value>(&answer.stdout).unwrap()["redirects"].clone()
    };
    for (number, to) in addresses().into_iter().enumerate() {
        for name in network.held(to).into_iter().map(|mut client| {
            client.bulk(100_000).unwrap();
            client.name
        }) {
            let shares = show()[number]["shares"].clone();
            let at: usize = name.parse().unwrap();
            let share = &shares[at - 1];
            assert!(share["sessions"].as_u64().unwrap() >= 1, "{shares}");
            let traffic = &share["traffic"];
            // Every byte went there and came back, in packets of at most 64 KiB each with headers of their own.
            for way in ["in", "out"] {
                let bytes = traffic[format!("bytes_{way}")].as_u64().unwrap();
                let packets = traffic[format!("packets_{way}")].as_u64().unwrap();
                assert!((100_000..200_000).contains(&bytes), "{way}: {traffic}");
                assert!((4..2000).contains(&packets), "{way}: {traffic}");
            }
        }
        let redirect = &show()[number];
        let shares = redirect["shares"].as_array().unwrap();
        let sum: u64 = shares.iter().map(|s| s["sessions"].as_u64().unwrap()).sum();
        assert_eq!(redirect["statistics"]["total"].as_u64().unwrap(), sum);
    }
    // The counters go on when the engine is replaced.
    let before = show();
    replace_filter_engine(&daemon, || ());
    daemon.wait_status("redirect", "six", "active");
    let after = wait::until("the counters of the next engine", || {
        let now = show();
        now[0]["shares"][0]["traffic"].is_object().then_some(now)
    });
    for number in 0..2 {
        for host in 0..3 {
            let of = |all: &serde_json::Value| {
                let traffic = &all[number]["shares"][host]["traffic"];
                traffic["bytes_in"].as_u64().unwrap()
            };
            assert!(of(&after) >= of(&before), "{before}\n{after}");
        }
    }
    let words = ["-n", "--count-traffic", "true", "--rules", "nftables", "-f"];
    let file = daemon.file();
    let words = [&words[..], &[file.to_str().unwrap()]].concat();
    let printed = network.balancer.text(env!("CARGO_BIN_EXE_relayd"), &words);
    let listing = network.listing();
    for line in [
        "ct direction reply ct mark @traffic_out",
        "priority -80; policy accept;",
    ] {
        assert!(printed.contains(line), "{printed}");
        assert!(listing.contains(line), "{listing}");
    }
}
