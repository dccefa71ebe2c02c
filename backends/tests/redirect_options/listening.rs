//! What a redirect looks at and does to a connection besides the choice of its host.

use super::hold;
use super::network::services::{
    PORT, backend, from_client, listener, rules, service, spread, start_servers, virtuals,
};
use super::network::{self, Network, Server, VIRTUAL, ask, tally, until};
use backends::filter::PacketFilter;
use conf::model::PfTag;
use std::net::UdpSocket;
use std::time::Duration;

#[test]
fn only_the_named_interface_is_served() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    for (interface, served) in [("e0", true), ("br0", false)] {
        for listener in &mut www.listeners {
            listener.interface = Some(interface.to_owned());
        }
        filter.apply(&rules(&[&www])).unwrap();
        for to in virtuals(PORT) {
            let answer = &spread(&network, to, 1)[0];
            match served {
                true => assert_eq!(answer, "s0"),
                false => assert!(answer.contains("refused"), "{answer}"),
            }
        }
    }
    filter.purge().unwrap();
}

#[test]
fn port_ranges_with_and_without_translation() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let _other = Server::start(&network.servers[0], 3003, "kept");
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    // A short range becomes single elements, a long one an interval; both with and without an interface.
    for end in [3010, 9000] {
        for interface in [None, Some("e0".to_owned())] {
            for listener in &mut www.listeners {
                (listener.port, listener.port_end) = (3000, end);
                listener.interface = interface.clone();
            }
            for (keep, name) in [(false, "s0"), (true, "kept")] {
                www.keep_port = keep;
                filter.apply(&rules(&[&www])).unwrap();
                for to in virtuals(3003) {
                    let what = format!("{to} {end} {interface:?} {keep}");
                    assert_eq!(spread(&network, to, 1), [name], "{what}");
                    let udp = from_client(&network, move || {
                        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                        ask(&UdpSocket::bind(any).unwrap(), to)
                    });
                    assert_eq!(udp.as_deref(), Some(name), "{what}");
                }
                for to in virtuals(end + 1) {
                    assert!(spread(&network, to, 1)[0].contains("refused"));
                }
            }
        }
    }
    filter.purge().unwrap();
}

#[test]
fn an_administrators_drop_policy_lets_tagged_connections_pass() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    www.tag = Some(PfTag {
        name: "relayd-test-tag".to_owned(),
        match_only: false,
    });
    filter.apply(&rules(&[&www])).unwrap();
    let chain =
        "chain f { type filter hook forward priority 0; policy drop; ct state established accept";
    for (rule, passes) in [
        ("", false),
        ("; ct label 127 accept", true),
        ("; ct status dnat accept", true),
    ] {
        let text = format!(
            "table inet admin\ndelete table inet admin\ntable inet admin {{\n{chain}{rule}\n}}\n}}\n"
        );
        network.balancer.output("nft", &[&text]);
        for to in virtuals(PORT) {
            let answer = &spread(&network, to, 1)[0];
            assert_eq!(answer == "s0", passes, "{rule}: {answer}");
        }
    }
    filter.purge().unwrap();
}

#[test]
fn established_connections_get_the_session_timeout() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    www.session_timeout = Duration::from_secs(77);
    filter.apply(&rules(&[&www])).unwrap();
    let connections: Vec<_> = virtuals(PORT)
        .into_iter()
        .flat_map(|to| hold(&network, to, 1))
        .collect();
    assert_eq!(connections.len(), 2);
    for family in ["ipv4", "ipv6"] {
        let list = network.balancer.output(
            "conntrack",
            &["-L", "-f", family, "-p", "tcp", "--state", "ESTABLISHED"],
        );
        let seconds: u32 = list.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert!((60..=77).contains(&seconds), "{list}");
    }
    // Another timeout for new ones, while old ones use the old object.
    www.session_timeout = Duration::from_secs(55);
    filter.apply(&rules(&[&www])).unwrap();
    assert!(
        virtuals(PORT)
            .into_iter()
            .all(|to| !hold(&network, to, 1).is_empty())
    );
    filter.purge().unwrap();
}

#[test]
fn masquerade_serves_servers_without_a_route_back() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    network.servers[0].ip("route del default");
    network.servers[0].ip("-6 route del default");
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert!(spread(&network, to, 1)[0].starts_with("error"));
    }
    www.masquerade = true;
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        assert_eq!(spread(&network, to, 1), ["s0"]);
    }
    filter.purge().unwrap();
}

#[test]
fn the_balancers_own_connections_are_redirected_too() {
    if !network::possible() {
        return;
    }
    let network = Network::new(2);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    filter.apply(&rules(&[&service("www", 2)])).unwrap();
    for to in virtuals(PORT) {
        let all = network::names(to, 10);
        assert_eq!(tally(&all), [("s0", 5), ("s1", 5)].into(), "{to}");
    }
    filter.purge().unwrap();
}

/// Reads the prefixes of packets logged to a group.
fn logged(group: u16, work: impl FnOnce()) -> Vec<String> {
    let socket = mnl::Socket::new(mnl::Bus::Netfilter).unwrap();
    // Header (subsystem 4, configuration), family, group, command "bind".
    let mut message = Vec::new();
    message.extend(28u32.to_ne_bytes());
    message.extend(((4u16 << 8) | 1).to_ne_bytes());
    message.extend(5u16.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0, 0]);
    message.extend(group.to_be_bytes());
    message.extend(5u16.to_ne_bytes());
    message.extend(1u16.to_ne_bytes());
    message.extend([1, 0, 0, 0]);
    let read = || {
        use nix::sys::socket::{MsgFlags, recv};
        use std::os::fd::AsRawFd;
        let mut buffer = vec![0u8; 65536];
        recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)
            .map(|n| buffer[..n].to_vec())
            .ok()
    };
    // The kernel gives up the group of a closed socket a moment later.
    until("the log group is ours", || {
        socket.send(&message).unwrap();
        read().is_some_and(|answer| answer[16..20] == [0; 4])
    });
    work();
    let mut found = Vec::new();
    until("a logged packet", || {
        while let Some(packet) = read() {
            let text = String::from_utf8_lossy(&packet).into_owned();
            if let Some(at) = text.find("relayd ") {
                found.push(text[at..].chars().take_while(|c| *c != '\0').collect());
            }
        }
        !found.is_empty()
    });
    found
}

#[test]
fn pflog_logs_the_first_packet_of_each_connection() {
    if !network::possible() {
        return;
    }
    let network = Network::new(1);
    let _servers = start_servers(&network);
    let mut filter = backend(&network);
    let mut www = service("www", 1);
    www.listeners = VIRTUAL.map(|a| listener(a, 6, PORT)).into();
    for listener in &mut www.listeners {
        listener.log = true;
    }
    filter.apply(&rules(&[&www])).unwrap();
    for to in virtuals(PORT) {
        // The kernel hands packets over in batches, after a second at the latest.
        let prefixes = logged(1, || assert_eq!(spread(&network, to, 1), ["s0"]));
        assert_eq!(prefixes, ["relayd www: "], "{to}");
    }
    filter.purge().unwrap();
}
