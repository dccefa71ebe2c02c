//! `transparent forward`: servers see the addresses of clients.

use crate::support::wait;
use crate::{
    BACK, CLIENTS, FRONT, GLOBALS, Network, SERVERS, TABLE, Talk, Witness, at, needs_namespaces,
    wait_up,
};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

/// `ip monitor`: what is removed from rules and routes.
struct Watch {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    fn start(network: &Network) -> Watch {
        let mut command = network.balancer.command("ip");
        command.args(["monitor", "route", "rule"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let watch = Watch { child, lines };
        // It listens once it tells of something.
        let mut number = 400;
        wait::until_true("the monitor's first line", || {
            number += 1;
            let priority = number.to_string();
            let rule = ["priority", &priority, "table", "main"];
            network.balancer.ip(&[&["rule", "add"], &rule[..]].concat());
            network.balancer.ip(&[&["rule", "del"], &rule[..]].concat());
            !watch.lines.lock().unwrap().is_empty()
        });
        watch
    }

    fn wait_for_removals(&self, what: &str, count: usize) {
        wait::until_true("removals", || {
            let lines = self.lines.lock().unwrap();
            let removed = |l: &&String| l.starts_with("Deleted") && l.contains(what);
            lines.iter().filter(removed).count() >= count
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Relays of both families, over TCP and UDP.
pub fn config() -> String {
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
    let daemon = network.daemon(&config());
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
    let mut daemon = network.daemon(&config());
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

    // Everything goes, also what nobody asked for, and what is needed comes back.
    let stale = [
        "rule", "add", "priority", "300", "table", TABLE, "protocol", "114",
    ];
    network.balancer.ip(&stale);
    let watch = Watch::start(&network);
    assert_eq!(daemon.relayctl(&["purge"]).code, 0);
    assert_eq!(network.routing(), routing);
    for gone in ["lookup 7497068", "local default dev lo table 7497068"] {
        watch.wait_for_removals(gone, 2);
    }
    wait::until_true("rules are back", || {
        network.ruleset().contains("jump answers")
    });
    for (front, client) in FRONT.into_iter().zip(CLIENTS) {
        assert_eq!(network.connect(at(front, 8080)).unwrap().seen, client);
    }

    // A reload without such relays takes everything away, the established sessions' share too.
    daemon.configure(&config().replace("transparent forward", "forward"));
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    wait::until_true("routing is gone", || network.routing().is_empty());
    wait::until_true("rules are gone", || !network.ruleset().contains("answers"));
    for (front, back) in FRONT.into_iter().zip(BACK) {
        assert_eq!(network.connect(at(front, 8080)).unwrap().seen, back);
    }
    daemon.signal(Signal::SIGTERM);
    daemon.wait_end();
}
