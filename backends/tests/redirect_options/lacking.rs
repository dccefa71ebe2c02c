//! What a system lacks or refuses halfway: redirects work, the rest is told and tried again.

use super::hold;
use super::network::services::{
    PORT, backend, rules, service, set_state, spread, start_servers, successor, virtuals,
};
use super::network::{self, Network};
use backends::filter::{PacketFilter, Relayed, Ruleset, ServerState, Service};
use backends::nftables::kernel::{Nftables, handle};
use conf::model::{Mode, RedirectId};

/// The redirect and a relay on port 25 that uses the clients' addresses.
fn with_relay(service: &Service) -> Ruleset {
    let relay = Relayed {
        name: "mail".to_owned(),
        listen: "10.1.0.1:25".parse().unwrap(),
        interface: None,
        datagrams: false,
        transparent: true,
        divert: false,
    };
    Ruleset {
        relays: vec![relay],
        ..rules(&[service])
    }
}

fn policy_routing(network: &Network) -> bool {
    let rules = network.balancer.output("ip", &["rule", "show"]);
    rules.contains("lookup 7497068")
}

fn has_chain(network: &Network, name: &str) -> bool {
    let listing = network.balancer.listing("inet", "relayd");
    listing.contains(&format!("chain {name} {{"))
}

/// Gives the loopback interface another name: the route of relays cannot be made or removed under it.
fn rename(network: &Network, from: &str, to: &str) {
    network.balancer.ip(&format!("link set {from} down"));
    network.balancer.ip(&format!("link set {from} name {to}"));
    network.balancer.ip(&format!("link set {to} up"));
}

/// Seconds pass; what was told.
fn ticks(filter: &mut impl PacketFilter, count: usize) -> Vec<String> {
    (0..count).flat_map(|_| filter.tick().unwrap()).collect()
}

#[test]
fn without_policy_routing_redirects_work_and_relays_follow_later() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    rename(&network, "lo", "lo0");
    let mut www = service("www", 2);
    filter.apply(&with_relay(&www)).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 2).len(), 2);
    }
    let told = ticks(&mut filter, 1);
    assert_eq!(told.len(), 1, "{told:?}");
    let start = "policy routing of relays (table 7497068): No such device";
    assert!(told[0].starts_with(start), "{told:?}");
    assert!(!has_chain(&network, "relays"));
    // Rounds go on, and nothing is told twice.
    set_state(&mut www, 0, ServerState::Down);
    filter.apply(&with_relay(&www)).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 2), ["s1", "s1"]);
    }
    assert_eq!(ticks(&mut filter, 61), [""; 0]);
    rename(&network, "lo0", "lo");
    assert_eq!(
        ticks(&mut filter, 61),
        ["the system has what relays that use other addresses need: they work now"]
    );
    assert!(has_chain(&network, "relays"));
    assert!(policy_routing(&network));
    filter.purge().unwrap();
    assert!(!policy_routing(&network));
}

#[test]
fn a_refusal_of_policy_routing_after_the_rules_leaves_a_true_picture() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 2);
    filter.apply(&with_relay(&www)).unwrap();
    assert!(policy_routing(&network));
    rename(&network, "lo", "lo0");
    set_state(&mut www, 0, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    assert!(!has_chain(&network, "relays"));
    let told = ticks(&mut filter, 6);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("policy routing of relays"), "{told:?}");
    assert!(told[0].ends_with("it is tried again"), "{told:?}");
    set_state(&mut www, 0, ServerState::Up);
    set_state(&mut www, 1, ServerState::Down);
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 2), ["s0", "s0"]);
    }
    rename(&network, "lo0", "lo");
    assert_eq!(
        ticks(&mut filter, 3),
        ["policy routing of relays (table 7497068) is set now"]
    );
    assert!(!policy_routing(&network));
    filter.purge().unwrap();
}

#[test]
fn a_purge_that_leaves_policy_routing_is_told_and_a_clean_stop_removes_it() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let www = service("www", 2);
    let mut desired = with_relay(&www);
    // The rule of IPv6 is removed after what is refused for IPv4.
    desired.relays[0].listen = "[fd01::1]:25".parse().unwrap();
    let routing = || {
        let rules = network.balancer.output("ip", &["-6", "rule", "show"]);
        rules.contains("lookup 7497068")
    };
    filter.apply(&desired).unwrap();
    rename(&network, "lo", "lo0");
    filter.purge().unwrap();
    assert_eq!(network.balancer.output("nft", &["list", "ruleset"]), "");
    // The redirects come back; that something is left is told, once.
    filter.apply(&rules(&[&www])).unwrap();
    assert_eq!(spread(&network, virtuals(PORT)[0], 2).len(), 2);
    let told = ticks(&mut filter, 6);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("it is tried again"), "{told:?}");
    assert!(routing());

    filter.purge().unwrap();
    filter.release().unwrap_err();
    rename(&network, "lo0", "lo");
    filter.release().unwrap();
    assert!(!routing());
}

#[test]
fn a_wrong_picture_of_the_kernel_is_put_right_by_the_next_choice() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    network.balancer.enter();
    // Two backends on one socket: the kernel takes both for the owner of the table.
    let socket = handle().unwrap();
    let mut filter = Nftables::over("relayd", socket.try_clone().unwrap()).unwrap();
    let mut www = service("www", 2);
    www.mode = Mode::LeastStates;
    filter.apply(&rules(&[&www])).unwrap();
    let [to, _] = virtuals(PORT);
    let connections = hold(&network, to, 3);
    assert_eq!(connections.len(), 3);
    let mut other = Nftables::over("relayd", socket).unwrap();
    other.apply(&rules(&[])).unwrap();
    assert!(!has_chain(&network, "r_www"));
    // The choice of the second finds nothing of what it would change.
    assert_eq!(ticks(&mut filter, 1), [""; 0]);
    assert!(has_chain(&network, "r_www"));
    // What was not written then is written now: the host with fewer connections is next.
    ticks(&mut filter, 1);
    let names: Vec<&str> = connections.iter().map(|(_, n)| n.as_str()).collect();
    let fewer = match names.iter().filter(|n| **n == "s0").count() {
        0 | 1 => "s0",
        _ => "s1",
    };
    assert_eq!(spread(&network, to, 1), [fewer]);
    filter.purge().unwrap();
}

/// A table that anybody may change, as before Linux 6.9.
fn shared(network: &Network) -> impl PacketFilter + use<> {
    let table = ["add", "table", "inet", "relayd"];
    network.balancer.output("nft", &table);
    backend(network)
}

/// Makes a base chain of a name; the kernel answers a jump to it as it answers what it does not have.
fn spoil(network: &Network, chain: &str) {
    let hook = "{ type filter hook input priority 0; }";
    let command = ["add", "chain", "inet", "relayd", chain, hook];
    network.balancer.output("nft", &command);
}

fn rule_handles(network: &Network, chain: &str) -> Vec<String> {
    let list = ["-a", "list", "chain", "inet", "relayd", chain];
    let text = network.balancer.output("nft", &list);
    let handles = text.lines().filter_map(|l| l.split_once("# handle "));
    handles.map(|(_, number)| number.to_owned()).collect()
}

#[test]
fn without_what_relays_need_a_change_of_hosts_writes_no_rules() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = shared(&network);
    let mut www = service("www", 2);
    filter.apply(&rules(&[&www])).unwrap();
    spoil(&network, "answers");
    let before = rule_handles(&network, "r_www");
    filter.apply(&with_relay(&www)).unwrap();
    let told = ticks(&mut filter, 1);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("modprobe -a nft_socket nft_tproxy"),
        "{told:?}"
    );
    assert!(!policy_routing(&network));
    for (down, up) in [(0, 1), (1, 0), (0, 1)] {
        set_state(&mut www, down, ServerState::Down);
        set_state(&mut www, up, ServerState::Up);
        filter.apply(&with_relay(&www)).unwrap();
        assert_eq!(rule_handles(&network, "r_www"), before);
        for to in virtuals(PORT) {
            assert_eq!(spread(&network, to, 1), [format!("s{up}")]);
        }
    }
    assert_eq!(ticks(&mut filter, 61), [""; 0]);
    assert_eq!(rule_handles(&network, "r_www"), before);
    assert!(!policy_routing(&network));
    let delete = ["delete", "chain", "inet", "relayd", "answers"];
    network.balancer.output("nft", &delete);
    let told = ticks(&mut filter, 61);
    assert!(told.last().unwrap().ends_with("they work now"), "{told:?}");
    assert!(has_chain(&network, "relays"));
    filter.purge().unwrap();
}

/// Whether no connection is led to a redirect.
fn is_withdrawn(network: &Network) -> bool {
    let list = ["list", "map", "inet", "relayd", "svc4"];
    let text = network.balancer.output("nft", &list);
    !text.contains("elements")
}

#[test]
fn a_clean_stop_after_a_failed_round_redirects_nothing() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let mut filter = shared(&network);
    let www = service("www", 1);
    let mut other = service("other", 1);
    other.id = RedirectId(2);
    for listener in &mut other.listeners {
        (listener.port, listener.port_end) = (81, 81);
    }
    filter.apply(&rules(&[&www])).unwrap();
    spoil(&network, "r_other");
    filter.apply(&rules(&[&www, &other])).unwrap_err();
    assert!(!is_withdrawn(&network));
    filter.release().unwrap();
    assert!(is_withdrawn(&network));
    assert!(
        has_chain(&network, "r_www"),
        "established connections go on"
    );
    filter.release().unwrap();
}

#[test]
fn a_clean_stop_before_the_first_round_withdraws_what_was_adopted() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let mut filter = backend(&network);
    filter.apply(&with_relay(&service("www", 1))).unwrap();
    drop(filter);
    let mut filter = successor();
    assert!(filter.serving());
    filter.release().unwrap();
    assert!(is_withdrawn(&network));
    assert!(!has_chain(&network, "relays"));
    assert!(!policy_routing(&network));
}
