//! What the system must not do with packets of relays, and what is shown of their rules.

use crate::support::{self, Daemon, Settings, wait};
use crate::{
    CLIENTS, FRONT, Network, SERVERS, Witness, at, diverting, needs_namespaces, transparent,
    wait_up,
};

#[test]
fn settings_that_make_relays_useless_are_named_with_their_cure() {
    needs_namespaces!();
    let network = Network::new();
    let _witness = Witness::new(&network.server, 80);
    let balancer = &network.balancer;
    balancer.sysctl("net.ipv4.conf.back.src_valid_mark", "1");
    let daemon = network.daemon(&transparent::config());
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
    let daemon = network.daemon(&diverting::config());
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
    let daemon = Daemon::with(settings, &diverting::config());
    daemon.wait_line("relay tcp4: transparent: servers' answers");
    daemon.wait_line("relay tcp6: forward to destination: connections to other addresses");
    assert_eq!(network.routing(), [""; 0]);
}

#[test]
fn the_rules_of_relays_are_shown_without_any_right() {
    let scratch = support::Scratch::new();
    let file = scratch.write("relayd.conf", &diverting::config());
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
