//! Kills, flushes, restarts and reloads.

use crate::support::client::Echo;
use crate::support::daemon::table;
use crate::support::network::Network;
use crate::support::traffic::Traffic;
use crate::support::{Netns, Scratch, wait};
use crate::{
    addresses, both, hold, needs_namespaces, replace_filter_engine, undisturbed, wait_all_up,
};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

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

/// Waits until everything sent is acknowledged: a segment that comes while there is no table is refused.
fn quiet(network: &Network) {
    let acknowledged = |netns: &Netns| {
        let sockets = netns.text("ss", &["-tnH", "state", "established"]);
        let mut unsent = sockets.lines().filter_map(|l| l.split_whitespace().nth(1));
        unsent.all(|bytes| bytes == "0")
    };
    wait::until_true("all is acknowledged", || {
        network
            .servers
            .iter()
            .chain([&network.client])
            .all(acknowledged)
    });
}

/// What the kernel tells of tables that come and go, and when.
struct Tables {
    child: Child,
    events: Receiver<(Instant, String)>,
}

impl Tables {
    fn watch(network: &Network) -> Tables {
        let mut command = network.balancer.command("nft");
        let command = command.args(["monitor", "tables"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send((Instant::now(), line));
            }
        });
        let tables = Tables { child, events };
        // It listens once it tells of something.
        wait::until_true("the monitor's first line", || {
            network.balancer.text("nft", &["add table inet probe"]);
            network.balancer.text("nft", &["delete table inet probe"]);
            tables.events.try_recv().is_ok()
        });
        tables
    }

    /// When the next line begins so.
    fn next(&self, start: &str) -> Instant {
        let mut lines = std::iter::from_fn(|| self.events.recv_timeout(wait::BOUND).ok());
        let found = lines.find(|(_, line)| line.starts_with(start));
        found.expect(start).0
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    let tables = Tables::watch(&network);
    let name = format!("table inet {}", table());
    let mut times = Vec::new();
    for _ in 0..10 {
        let mark = daemon.mark();
        quiet(&network);
        reload_nftables_service(&network.balancer, daemon.scratch());
        let gone = tables.next(&format!("delete {name}"));
        times.push(tables.next(&format!("add {name}")) - gone);
        daemon.wait_line_since(mark, "was changed by somebody else and is restored");
        let to = addresses()[0];
        let known = |name: &String| ["1", "2", "3"].contains(&name.as_str());
        wait::until_true("it serves", || network.names(to, 1).iter().all(known));
        undisturbed(&mut kept);
    }
    times.sort_unstable();
    println!("restored after {times:?}");
    // The look at every second would make some five of ten wait longer; a busy machine may hold up one.
    assert!(times[8] < Duration::from_millis(500), "{times:?}");
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
