//! The relays' part of our table: packets for addresses that are not ours, and yet for our sockets.
//! Owns the chains `relays` and `answers`, and the mark that policy routing knows.
//! Must never take a packet that neither belongs to a transparent socket nor goes to a relay's port.

use super::model::{At, Chain, Family, Fragment, Hook, Ip, Kind, Rule, Statement, Verdict};
use crate::filter::Relayed;
use std::fmt::{self, Display, Formatter};

/// Bit of the packet's mark that sends it to this system whatever its address is; other bits stay as they are.
pub const MARK: u32 = 0x0100_0000;
/// Routing table with the one route that makes every address local; its number spells "rel".
pub const TABLE: u32 = 0x0072_656c;
/// Place of the rule among the administrator's own (`ip rule`): before the main table.
pub const PRIORITY: u32 = 100;
/// The base chain.
pub const CHAIN: &str = "relays";
/// Chain of packets that belong to a transparent socket.
const ANSWERS: &str = "answers";
/// Where other programs divert packets, too: before address translation.
const MANGLE: i32 = -150;

/// Parts of rules that only relays use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `socket transparent 1`: the packet belongs to a socket that uses addresses which are not ours.
    Transparent,
    /// `socket wildcard 1`: … to one that listens on all addresses.
    Wildcard,
    /// `meta l4proto udp`
    Datagram,
    /// `meta mark set meta mark | MARK`
    Mark,
    /// `meta nfproto ipv4 tcp dport PORT`
    To {
        /// Family.
        ip: Ip,
        /// UDP rather than TCP.
        datagrams: bool,
        /// Destination port.
        port: u16,
    },
    /// `tproxy ip to :PORT`
    Divert {
        /// Family.
        ip: Ip,
        /// Port of the relay.
        port: u16,
    },
}

/// Whether a name is that of a relays' chain.
pub fn is_ours(name: &str) -> bool {
    name == CHAIN || name == ANSWERS
}

/// Adds the chains that `relays` need.
pub fn add(fragment: &mut Fragment, relays: &[Relayed]) {
    if relays.is_empty() {
        return;
    }
    let mut rules = vec![vec![
        Statement::Relay(Part::Transparent),
        Statement::Verdict(Verdict::Jump(ANSWERS.to_owned())),
    ]];
    // To a relay on a single address the administrator diverts.
    let everywhere = |r: &&Relayed| r.divert && r.listen.ip().is_unspecified();
    rules.extend(relays.iter().filter(everywhere).map(divert));
    let hook = Hook {
        kind: Kind::Filter,
        at: At::Prerouting,
        priority: MANGLE,
        priority_name: "mangle",
        device: None,
    };
    let mut insert = |name: &str, hook, rules| {
        let name = (Family::Inet, name.to_owned());
        fragment.chains.insert(name, Chain { hook, rules });
    };
    insert(CHAIN, Some(hook), rules);
    insert(ANSWERS, None, answers(relays));
}

/// A packet of a session goes to its socket; one that opens a connection is a matter of the rules that divert.
fn answers(relays: &[Relayed]) -> Vec<Rule> {
    let mut rules = vec![vec![
        Statement::Relay(Part::Wildcard),
        Statement::Verdict(Verdict::Return),
    ]];
    let kinds = [
        (false, Statement::NotOpening),
        (true, Statement::Relay(Part::Datagram)),
    ];
    for (datagrams, matched) in kinds {
        if relays.iter().any(|r| r.datagrams == datagrams) {
            rules.push(vec![
                matched,
                Statement::Relay(Part::Mark),
                Statement::Verdict(Verdict::Accept),
            ]);
        }
    }
    rules
}

fn divert(relay: &Relayed) -> Rule {
    let (ip, port) = (Ip::from(relay.listen.ip()), relay.listen.port());
    let datagrams = relay.datagrams;
    vec![
        Statement::Relay(Part::To {
            ip,
            datagrams,
            port,
        }),
        Statement::Relay(Part::Divert { ip, port }),
        Statement::Relay(Part::Mark),
        Statement::Verdict(Verdict::Accept),
    ]
}

/// The policy routing that belongs to the rules, as commands in comments; nothing if no relay needs it.
pub fn routing_text(relays: &[Relayed]) -> String {
    let mut text = String::new();
    for (v6, ip) in [(false, "ip"), (true, "ip -6")] {
        if relays.iter().any(|r| r.listen.is_ipv6() == v6) {
            text += &format!(
                "# {ip} rule add priority {PRIORITY} fwmark {MARK:#010x}/{MARK:#010x} lookup {TABLE}\n\
                 # {ip} route add local default dev lo table {TABLE}\n"
            );
        }
    }
    text
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Part::Transparent => f.write_str("socket transparent 1"),
            Part::Wildcard => f.write_str("socket wildcard 1"),
            Part::Datagram => f.write_str("meta l4proto udp"),
            Part::Mark => write!(f, "meta mark set meta mark | {MARK:#010x}"),
            Part::To {
                ip,
                datagrams,
                port,
            } => {
                let protocol = if *datagrams { "udp" } else { "tcp" };
                write!(f, "{} {protocol} dport {port}", Statement::Family(*ip))
            }
            Part::Divert { ip, port } => write!(f, "tproxy {} to :{port}", ip.keyword()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::text::rule_text;
    use super::*;

    fn relay(listen: &str, datagrams: bool, divert: bool) -> Relayed {
        Relayed {
            name: "r".to_owned(),
            listen: listen.parse().unwrap(),
            datagrams,
            transparent: !divert,
            divert,
        }
    }

    fn rules(relays: &[Relayed]) -> Vec<String> {
        let mut fragment = Fragment::default();
        add(&mut fragment, relays);
        let chains = fragment.chains.values();
        chains
            .flat_map(|c| c.rules.iter().map(|r| rule_text(Family::Inet, r)))
            .collect()
    }

    #[test]
    fn nothing_is_added_for_nothing() {
        assert_eq!(rules(&[]), [""; 0]);
        assert_eq!(routing_text(&[]), "");
    }

    #[test]
    fn each_kind_of_relay_gets_its_rules() {
        let expected = [
            "socket wildcard 1 return",
            "tcp flags != syn / syn,ack meta mark set meta mark | 0x01000000 accept",
            "meta l4proto udp meta mark set meta mark | 0x01000000 accept",
            "socket transparent 1 jump answers",
            "meta nfproto ipv4 tcp dport 80 tproxy ip to :80 meta mark set meta mark | 0x01000000 accept",
            "meta nfproto ipv6 udp dport 53 tproxy ip6 to :53 meta mark set meta mark | 0x01000000 accept",
        ];
        let relays = [
            relay("0.0.0.0:80", false, true),
            relay("[::]:53", true, true),
            relay("192.0.2.1:25", false, false),
            // The administrator diverts to it.
            relay("127.0.0.1:8080", false, true),
        ];
        assert_eq!(rules(&relays), expected);
        assert_eq!(routing_text(&relays).lines().count(), 4);
        assert_eq!(routing_text(&relays[..1]).lines().count(), 2);
    }
}
