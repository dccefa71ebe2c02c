//! The relays' part of our table: packets for addresses that are not ours, and yet for our sockets.
//! Owns the chains `relays` and `answers`, and the mark that policy routing knows.
//! Must never take a packet that neither belongs to a transparent socket nor goes to a relay's port.

use super::model::{At, Chain, Family, Fragment, Hook, Ip, Kind, Rule, Statement, Verdict};
use super::service::quoted;
use crate::filter::{FilterError, Relayed, Ruleset, Service};
use conf::model::{Forward, VirtualAddress};
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

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
    /// `iifname "IF"`
    From(String),
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
    rules.extend(relays.iter().filter(|r| diverts(r)).map(divert));
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

/// Whether a relay takes connections to others by a rule of ours.
fn diverts(relay: &Relayed) -> bool {
    relay.divert && relay.listen.ip().is_unspecified()
}

/// Refuses relays that would take all that a redirect is for: connections are diverted before they are redirected. A
/// relay on one interface may serve beside a redirect that is for all of them, and any beside `route to`, whose packets
/// are sent on before they are diverted.
///
/// # Errors
/// Names both.
pub fn check(desired: &Ruleset) -> Result<(), FilterError> {
    for relay in desired.relays.iter().filter(|r| diverts(r)) {
        let (port, protocol) = (relay.listen.port(), if relay.datagrams { 17 } else { 6 });
        let taken = |l: &&VirtualAddress| {
            l.address.ip.is_ipv6() == relay.listen.is_ipv6()
                && l.ip_protocol == protocol
                && (l.port..=l.port_end.max(l.port)).contains(&port)
                && (relay.interface.is_none() || relay.interface == l.interface)
        };
        let translated = |s: &&Arc<Service>| s.forward == Forward::Translate;
        for service in desired.services.iter().filter(translated) {
            if let Some(listener) = service.listeners.iter().find(taken) {
                let at = listener.address.with_port(port);
                return Err(FilterError::Unavailable {
                    object: format!("relay {}", relay.name),
                    reason: format!(
                        "takes the connections to every address on port {port}, also those to {at} of redirect {}",
                        service.name
                    ),
                    cure: "give one of them another port, or the relay an interface with `listen on … interface`",
                });
            }
        }
    }
    Ok(())
}

fn divert(relay: &Relayed) -> Rule {
    let (ip, port) = (Ip::from(relay.listen.ip()), relay.listen.port());
    let datagrams = relay.datagrams;
    let interface = relay.interface.iter().cloned();
    let mut rule: Rule = interface.map(|i| Statement::Relay(Part::From(i))).collect();
    rule.extend([
        Statement::Relay(Part::To {
            ip,
            datagrams,
            port,
        }),
        Statement::Relay(Part::Divert { ip, port }),
        Statement::Relay(Part::Mark),
        Statement::Verdict(Verdict::Accept),
    ]);
    rule
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
            Part::From(interface) => write!(f, "iifname \"{}\"", quoted(interface)),
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
    use crate::filter::testing::{listener, service};

    fn relay(listen: &str, datagrams: bool, divert: bool) -> Relayed {
        Relayed {
            name: "r".to_owned(),
            listen: listen.parse().unwrap(),
            interface: None,
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
            "iifname \"lan0\" meta nfproto ipv4 tcp dport 8000 tproxy ip to :8000 meta mark set meta mark | 0x01000000 accept",
            "meta nfproto ipv6 udp dport 53 tproxy ip6 to :53 meta mark set meta mark | 0x01000000 accept",
        ];
        let limited = Relayed {
            interface: Some("lan0".to_owned()),
            ..relay("0.0.0.0:8000", false, true)
        };
        let relays = [
            relay("0.0.0.0:80", false, true),
            limited,
            relay("[::]:53", true, true),
            relay("192.0.2.1:25", false, false),
            // The administrator diverts to it.
            relay("127.0.0.1:8080", false, true),
        ];
        assert_eq!(rules(&relays), expected);
        assert_eq!(routing_text(&relays).lines().count(), 4);
        assert_eq!(routing_text(&relays[..1]).lines().count(), 2);
    }

    #[test]
    fn a_relay_that_would_take_a_redirects_connections_is_refused() {
        let verdict = |relay: Relayed, interface: Option<&str>| {
            let mut www = service("www", 1);
            www.listeners = vec![listener("192.0.2.1", 80)];
            www.listeners[0].interface = interface.map(str::to_owned);
            let desired = Ruleset {
                relays: vec![relay],
                ..std::iter::once(www).collect()
            };
            check(&desired).map_err(|e| e.to_string())
        };
        let everywhere = || relay("0.0.0.0:80", false, true);
        let line = "relay r: takes the connections to every address on port 80, also those to 192.0.2.1:80 of redirect www; give one of them another port, or the relay an interface with `listen on … interface`";
        assert_eq!(verdict(everywhere(), None).unwrap_err(), line);
        assert_eq!(verdict(everywhere(), Some("wan0")).unwrap_err(), line);
        let on = |name: &str| Relayed {
            interface: Some(name.to_owned()),
            ..everywhere()
        };
        verdict(on("lan0"), None).unwrap();
        verdict(on("lan0"), Some("wan0")).unwrap();
        verdict(on("lan0"), Some("lan0")).unwrap_err();
        verdict(relay("0.0.0.0:81", false, true), None).unwrap();
        verdict(relay("0.0.0.0:80", true, true), None).unwrap();
        verdict(relay("[::]:80", false, true), None).unwrap();
        verdict(relay("192.0.2.9:80", false, false), None).unwrap();
    }

    #[test]
    fn a_redirect_that_routes_has_its_packets_before_any_relay() {
        let mut www = service("www", 1);
        www.listeners = vec![listener("192.0.2.1", 80)];
        let with = |service| Ruleset {
            relays: vec![relay("0.0.0.0:80", false, true)],
            ..std::iter::once(service).collect()
        };
        check(&with(www.clone())).unwrap_err();
        www.forward = Forward::Route {
            interface: "lan0".to_owned(),
        };
        check(&with(www)).unwrap();
    }
}
