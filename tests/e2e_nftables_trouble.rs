//! Redirects in the kernel: bad input and bad surroundings. Each is one line with object and cure, at `-n` where it can be
//! known there, and never leaves half a ruleset behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use support::client::{Answer, run};
use support::network::Network;
use support::{Daemon, Netns, Scratch, Settings, surroundings};

const GOOD: &str = "table <t> { 192.0.2.18 }
redirect www {
	listen on 198.51.100.1 port 8080
	forward to <t> port 80 check tcp
}
";

const DIRECT: &str = "table <t> { 192.0.2.18 }
redirect www {
	listen on 198.51.100.1 port 80
	route to <t> port 80 check tcp interface back1
}
";

const TWINS: &str = "table <t> { 192.0.2.18 }
redirect www {
	listen on 198.51.100.1 port 8080
	forward to <t> port 80 check tcp
}
redirect twin {
	listen on 198.51.100.1 port 8000:8090
	forward to <t> port 80 check tcp
}
";

const TAKEN: &str = "table <t> { 192.0.2.18 }
redirect www {
	listen on 198.51.100.1 port 80
	forward to <t> port 80 check tcp
}
relay proxy {
	listen on 0.0.0.0 port 80
	forward to destination
}
";

const TAKEN_LINE: &str = "relay proxy: takes the connections to every address on port 80, also those to 198.51.100.1:80 of redirect www; give one of them another port, or the relay an interface with `listen on … interface`";
const TWINS_LINE: &str = "redirect twin: 198.51.100.1:8000 already belongs to redirect www; give one of them another address, port, protocol or interface";
const PORT_LINE: &str = "redirect www: another port at the hosts together with `route to` is not possible with the nftables packet filter";
const INTERFACE_LINE: &str = "redirect www: there is no interface nowhere0; make the interface, or correct its name in relayd.conf";
const KERNEL_LINE: &str = "packet filter nftables: the kernel has no nf_tables; load the module nf_tables (modprobe nf_tables), or use the packet filter userland";
const RIGHT_LINE: &str = "packet filter nftables: this process may not use nftables (no CAP_NET_ADMIN); start relayd as root or with CAP_NET_ADMIN, or use the packet filter userland";

/// `relayd ARGUMENTS -f FILE` in a namespace, to its end.
fn relayd(netns: &Netns, prefix: &[&str], arguments: &[&str], config: &str) -> Answer {
    let scratch = Scratch::new();
    let file = scratch.write("relayd.conf", config);
    let program = env!("CARGO_BIN_EXE_relayd");
    let words = [prefix, &[program]].concat();
    let mut command = netns.command(words[0]);
    command
        .args(&words[1..])
        .args(arguments)
        .arg("-f")
        .arg(file)
        .env("RELAYD_TABLE", support::daemon::table())
        .env("RELAYD_SOCKET", scratch.path("relayd.sock"))
        .env("RELAYD_CHROOT", scratch.path("empty"))
        .env("RELAYD_USER", "nobody");
    run(&mut command)
}

fn check(netns: &Netns, arguments: &[&str], config: &str) -> Answer {
    relayd(netns, &[], &[&["-n"], arguments].concat(), config)
}

/// The text without the warnings of the configuration reader, which have places.
fn last_line(answer: &Answer) -> &str {
    answer.stderr.lines().last().unwrap_or_default()
}

#[test]
fn what_cannot_be_is_refused_by_the_check() {
    needs_namespaces!();
    let balancer = Netns::new("check");
    let other_port = DIRECT.replace("port 80 check", "port 8080 check");
    for (backend, config, line) in [
        ("nftables", TWINS, TWINS_LINE),
        ("userland", TWINS, TWINS_LINE),
        ("auto", TWINS, TWINS_LINE),
        ("nftables", &other_port, PORT_LINE),
        ("nftables", TAKEN, TAKEN_LINE),
        // Here `auto` is nftables.
        ("auto", &other_port, PORT_LINE),
        (
            "userland",
            DIRECT,
            "redirect www: `route to` is not possible with the userland packet filter",
        ),
        (
            "userland",
            &GOOD.replace("8080\n", "8080\n\tpftag web\n"),
            "redirect www: `pftag` is not possible with the userland packet filter",
        ),
        (
            "userland",
            &GOOD.replace("8080\n", "8080\n\tmatch pftag web\n"),
            "redirect www: `pftag` is not possible with the userland packet filter",
        ),
        (
            "userland",
            &GOOD.replace(
                "listen on 198.51.100.1 port 8080",
                "listen on 198.51.100.1 port 8080 pflog",
            ),
            "redirect www: `pflog` is not possible with the userland packet filter",
        ),
        (
            "userland",
            &GOOD.replace("8080\n", "8080 interface lo\n"),
            "redirect www: `interface` is not possible with the userland packet filter",
        ),
    ] {
        let answer = check(&balancer, &["--backend", backend], config);
        assert_eq!(answer.code, 1, "{backend}: {config}{}", answer.stderr);
        let wanted = format!("relayd: {line}");
        assert_eq!(last_line(&answer), wanted, "{backend}: {config}");
    }
    let beside = TAKEN.replace("0.0.0.0 port 80", "0.0.0.0 port 80 interface lo");
    for good in [GOOD, &beside] {
        let answer = check(&balancer, &["--backend", "auto"], good);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
    }
}

#[test]
fn what_this_system_lacks_is_said_by_the_check_and_refuses_the_start() {
    needs_namespaces!();
    let balancer = Netns::new("lack");
    let nowhere = DIRECT.replace("back1", "nowhere0");
    let answer = check(&balancer, &["--backend", "nftables"], &nowhere);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let warning = format!("relayd: warning: {INTERFACE_LINE}");
    assert!(answer.stderr.contains(&warning), "{}", answer.stderr);
    let start = relayd(&balancer, &[], &["-d", "--backend", "nftables"], &nowhere);
    assert_eq!(start.code, 1);
    assert_eq!(last_line(&start), format!("relayd: {INTERFACE_LINE}"));

    // A table of an administrator with the same name is not emptied.
    let table = support::daemon::table();
    let theirs = format!("table inet {table} {{ chain theirs {{ counter\n}}\n}}");
    balancer.text("nft", &[&theirs]);
    let before = balancer.text("nft", &["list", "ruleset"]);
    let line = format!(
        "nftables table inet {table}: was not made by relayd; choose another name with the option table, or delete the table with `nft delete table`"
    );
    let answer = check(&balancer, &["--backend", "nftables"], GOOD);
    assert!(answer.stderr.contains(&line), "{}", answer.stderr);
    let start = relayd(&balancer, &[], &["-d", "--backend", "nftables"], GOOD);
    assert_eq!(
        (start.code, last_line(&start)),
        (1, format!("relayd: {line}").as_str())
    );
    assert_eq!(balancer.text("nft", &["list", "ruleset"]), before);
}

#[test]
fn without_the_right_the_start_is_refused_or_user_space_serves() {
    needs_namespaces!();
    let balancer = Netns::new("right");
    let without = [
        "setpriv",
        "--inh-caps=-net_admin",
        "--bounding-set=-net_admin",
    ];
    let start = relayd(&balancer, &without, &["-d", "--backend", "nftables"], GOOD);
    assert_eq!(start.code, 1, "{}", start.stderr);
    assert_eq!(last_line(&start), format!("relayd: {RIGHT_LINE}"));
    let answer = relayd(&balancer, &without, &["-n", "--backend", "nftables"], GOOD);
    assert!(answer.stderr.contains(RIGHT_LINE), "{}", answer.stderr);
    assert_eq!(answer.code, 0);
    // `auto` is user space there, which cannot do everything.
    let answer = relayd(&balancer, &without, &["-n"], DIRECT);
    assert_eq!(
        (answer.code, last_line(&answer)),
        (
            1,
            "relayd: redirect www: `route to` is not possible with the userland packet filter"
        )
    );
}

#[test]
fn without_nf_tables_the_start_is_refused_or_user_space_serves() {
    needs_namespaces!();
    let balancer = Netns::new("kernel");
    let of = |arguments: &[&str], config: &str| {
        surroundings::without_netfilter(|| relayd(&balancer, &[], arguments, config))
    };
    let start = of(&["-d", "--backend", "nftables"], GOOD);
    assert_eq!(start.code, 1, "{}", start.stderr);
    assert_eq!(last_line(&start), format!("relayd: {KERNEL_LINE}"));
    assert_eq!(
        start.stderr.matches(KERNEL_LINE).count(),
        1,
        "{}",
        start.stderr
    );
    let answer = of(&["-n", "--backend", "nftables"], GOOD);
    assert!(answer.stderr.contains(KERNEL_LINE), "{}", answer.stderr);
    assert_eq!(answer.code, 0);
    let answer = of(&["-n"], DIRECT);
    let line = "relayd: redirect www: `route to` is not possible with the userland packet filter";
    assert_eq!((answer.code, last_line(&answer)), (1, line));
}

#[test]
fn what_the_kernel_has_not_is_one_line_and_leaves_no_half() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let daemon = network.daemon(&["--protect-table", "false"], GOOD);
    daemon.wait_status("redirect", "www", "active");
    let table = support::daemon::table();
    // To a jump into a base chain the kernel says what it says to an expression it does not have.
    let hook = "{ type filter hook input priority 0; }";
    let spoiled = ["chain", "inet", &table, "r_other", hook];
    network
        .balancer
        .text("nft", &[&["add"], &spoiled[..]].concat());
    let other = "redirect other {
	listen on 198.51.100.1 port 8090 pflog
	forward to <t> port 80 check tcp
}
";
    daemon.configure(&format!("{GOOD}{other}"));
    let mark = daemon.mark();
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    let start = format!("nftables table {table}, rule of l_other: goto r_other");
    let line = daemon.wait_line_since(mark, &start);
    let cure =
        "the kernel lacks something this needs; load the nf_tables modules (modprobe -a nft_nat ";
    assert!(line.contains(cure), "{line}");
    let listing = network.listing();
    for half in ["chain l_other", "l_other }", "8090"] {
        assert!(!listing.contains(half), "{half}: {listing}");
    }
    let to = "198.51.100.1:8080".parse().unwrap();
    assert_eq!(network.names(to, 2), ["1".to_owned()].into());
    // It is tried again, told once, and works when the kernel has it.
    network
        .balancer
        .text("nft", &["delete", "chain", "inet", &table, "r_other"]);
    let to = "198.51.100.1:8090".parse().unwrap();
    support::wait::until_true("the other redirect", || {
        network.names(to, 1) == ["1".to_owned()].into()
    });
    let told = daemon.lines_since(mark);
    let told = told.iter().filter(|l| l.contains(&start)).count();
    assert_eq!(told, 1);
}

#[test]
fn an_impossible_reload_changes_nothing() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let daemon = network.daemon(&[], GOOD);
    daemon.wait_status("redirect", "www", "active");
    let before = network.listing();
    let to = "198.51.100.1:8080".parse().unwrap();
    for (config, line) in [
        (TWINS, TWINS_LINE),
        (&DIRECT.replace("port 80 check", "port 81 check"), PORT_LINE),
        (&DIRECT.replace("back1", "nowhere0"), INTERFACE_LINE),
    ] {
        daemon.configure(config);
        let mark = daemon.mark();
        let answer = daemon.relayctl(&["reload", "-w"]);
        assert_eq!(answer.code, 1, "{answer:?}");
        let told = format!("{}{}", answer.stdout, answer.stderr);
        assert!(told.contains(line), "{told}");
        daemon.wait_line_since(mark, line);
        assert_eq!(network.names(to, 2), ["1".to_owned()].into());
    }
    let without_counters = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|l| !l.contains("packets"));
        lines.map(ToOwned::to_owned).collect()
    };
    assert_eq!(
        without_counters(&network.listing()),
        without_counters(&before)
    );
    // What is possible is accepted, Direct Server Return too.
    daemon.configure(DIRECT);
    let answer = daemon.relayctl(&["reload", "-w"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let table = support::daemon::table();
    let netdev = network
        .balancer
        .text("nft", &["list", "table", "netdev", &table]);
    assert!(netdev.contains("device \"back1\""), "{netdev}");
}

#[test]
fn another_relayd_with_the_table_is_one_clear_error() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    let first = network.daemon(&[], GOOD);
    first.wait_status("redirect", "www", "active");
    let settings = Settings {
        backend: "nftables",
        netns: Some(&network.balancer),
        ..Settings::default()
    };
    let mut second = Daemon::launch(settings, &GOOD.replace("8080", "8081"));
    assert_eq!(second.wait_end().code(), Some(1));
    let line = format!(
        "nftables table {} belongs to another running relayd; stop it or choose another table name",
        support::daemon::table()
    );
    second.wait_line(&line);
    let to = "198.51.100.1:8080".parse().unwrap();
    assert_eq!(network.names(to, 2), ["1".to_owned()].into());
    // Under another name there is room for both.
    let settings = Settings {
        backend: "nftables",
        netns: Some(&network.balancer),
        arguments: &["--table", "another"],
        ..Settings::default()
    };
    let third = Daemon::with(settings, &GOOD.replace("8080", "8081"));
    third.wait_status("redirect", "www", "active");
    let to = "198.51.100.1:8081".parse().unwrap();
    assert_eq!(network.names(to, 2), ["1".to_owned()].into());
}

#[test]
fn what_makes_redirects_useless_is_said_once_with_the_cure() {
    needs_namespaces!();
    let network = Network::new();
    let _servers = network.serve();
    network.balancer.sysctl("net.ipv4.ip_forward", "0");
    network.balancer.sysctl("net.ipv6.conf.all.forwarding", "0");
    network.balancer.sysctl("net.ipv4.conf.all.rp_filter", "1");
    let config = "interval 1
timeout 500
table <t> { 192.0.2.18 203.0.113.9 }
table <six> { 2001:db8:1::2 }
redirect www {
	listen on 198.51.100.1 port 8080
	forward to <t> port 80 check tcp
}
redirect six {
	listen on 2001:db8::1 port 8080
	forward to <six> port 80 check tcp
}
redirect direct {
	listen on 198.51.100.1 port 80
	route to <t> port 80 check tcp interface back1
}
";
    let daemon = network.daemon(&[], config);
    let lines = [
        "redirect www: IPv4 packets are not forwarded to its hosts; sysctl -w net.ipv4.ip_forward=1",
        "redirect six: IPv6 packets are not forwarded to its hosts; sysctl -w net.ipv6.conf.all.forwarding=1",
        "redirect www: there is no route to host 203.0.113.9; ip route add 203.0.113.9 via GATEWAY",
        "redirect direct: strict reverse path filtering may drop packets of clients that are reached another way; sysctl -w net.ipv4.conf.all.rp_filter=2",
    ];
    for line in lines {
        daemon.wait_line(line);
    }
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    let log = daemon.lines();
    for line in lines {
        let times = log.iter().filter(|l| l.contains(line)).count();
        assert_eq!(times, 1, "{line}");
    }
    // Cured, and broken again: then it is news.
    network.balancer.sysctl("net.ipv4.ip_forward", "1");
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    network.balancer.sysctl("net.ipv4.ip_forward", "0");
    let mark = daemon.mark();
    assert_eq!(daemon.relayctl(&["reload", "-w"]).code, 0);
    daemon.wait_line_since(mark, lines[0]);
    assert!(
        daemon
            .lines_since(mark)
            .iter()
            .all(|l| !l.contains(lines[2]))
    );
}
