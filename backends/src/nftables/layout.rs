//! The part of our table that is the same for every configuration.
//! Owns the names of sets and fixed chains.
//! Must never grow with the number of redirects: every rule that names a set makes each transaction dearer.

use super::model::{
    At, Carries, Chain, Dynamic, Family, Fragment, Hook, Ip, Kind, Load, Name, Rule, Set,
    Statement, Type, Verdict,
};

/// Comment of the table.
pub const COMMENT: &str = "managed by relayd; do not edit";
/// Group of packets logged for `pflog`; ulogd or tcpdump -i nflog:N reads it.
pub const LOG_GROUP: u16 = 1;
/// Clients remembered for `sticky-address`, per family; beyond it new ones are balanced anew.
pub(super) const STICKY_MAX: u32 = 65536;
/// Seconds a sticky client is remembered after its last new connection.
pub(super) const STICKY_SECONDS: u32 = 600;
/// The chain that turns a slot into a host.
pub(super) const PICK: &str = "pick";
/// Sets that count packets from clients and to clients, by host.
pub const TRAFFIC: [&str; 2] = ["traffic_in", "traffic_out"];
/// Hosts with a connection limit.
const CAP_MAX: u32 = 65535;

pub(super) const fn plain(name: &'static str, key: &'static [Type], carries: Carries) -> Set {
    Set {
        family: Family::Inet,
        name,
        key,
        carries,
        interval: false,
        dynamic: false,
        timeout: None,
        size: None,
        counter: false,
    }
}

pub(super) const fn service(name: &'static str, key: &'static [Type], interval: bool) -> Set {
    Set {
        interval,
        ..plain(name, key, Carries::Verdict)
    }
}

const fn live(name: &'static str, data: &'static [Type]) -> Set {
    Set {
        counter: true,
        ..plain(name, &[Type::Mark], Carries::Values(data))
    }
}

pub(super) const fn traffic(name: &'static str) -> Set {
    Set {
        counter: true,
        ..plain(name, &[Type::Mark], Carries::Nothing)
    }
}

const fn sticky(name: &'static str, key: &'static [Type]) -> Set {
    Set {
        dynamic: true,
        timeout: Some(STICKY_SECONDS),
        size: Some(STICKY_MAX),
        ..plain(name, key, Carries::Values(&[Type::Mark]))
    }
}

pub(super) const SVC4: &[Type] = &[Type::Address(Ip::V4), Type::Protocol, Type::Port];
pub(super) const SVC6: &[Type] = &[Type::Address(Ip::V6), Type::Protocol, Type::Port];
const SVCIF4: &[Type] = &[
    Type::Interface,
    Type::Address(Ip::V4),
    Type::Protocol,
    Type::Port,
];
const SVCIF6: &[Type] = &[
    Type::Interface,
    Type::Address(Ip::V6),
    Type::Protocol,
    Type::Port,
];

/// The sets of the table, in the order they are made.
pub fn sets() -> Vec<Set> {
    vec![
        traffic(TRAFFIC[0]),
        traffic(TRAFFIC[1]),
        // What the numbers in ct marks mean; read back by a daemon that adopts the table.
        plain("ids", &[Type::Mark], Carries::Nothing),
        plain("masq", &[Type::Mark], Carries::Nothing),
        Set {
            dynamic: true,
            size: Some(CAP_MAX),
            ..plain("cap", &[Type::Mark], Carries::Nothing)
        },
        service("svcif4", SVCIF4, false),
        service("svcif6", SVCIF6, false),
        service("svc4", SVC4, false),
        service("svc6", SVC6, false),
        service("svcifr4", SVCIF4, true),
        service("svcifr6", SVCIF6, true),
        service("svcr4", SVC4, true),
        service("svcr6", SVC6, true),
        live("live4", &[Type::Address(Ip::V4), Type::Port]),
        live("live6", &[Type::Address(Ip::V6), Type::Port]),
        live("keep4", &[Type::Address(Ip::V4)]),
        live("keep6", &[Type::Address(Ip::V6)]),
        plain("slots4", &[Type::Mark], Carries::Values(&[Type::Mark])),
        plain("slots6", &[Type::Mark], Carries::Values(&[Type::Mark])),
        // Hosts that may take what a full one passes on.
        plain("spare", &[Type::Mark], Carries::Nothing),
        sticky("sticky4", &[Type::Mark, Type::Address(Ip::V4)]),
        sticky("sticky6", &[Type::Mark, Type::Address(Ip::V6)]),
    ]
}

/// The map of services for a listener.
pub fn service_map(ip: Ip, interface: bool, range: bool) -> &'static str {
    match (ip, interface, range) {
        (Ip::V4, false, false) => "svc4",
        (Ip::V6, false, false) => "svc6",
        (Ip::V4, true, false) => "svcif4",
        (Ip::V6, true, false) => "svcif6",
        (Ip::V4, false, true) => "svcr4",
        (Ip::V6, false, true) => "svcr6",
        (Ip::V4, true, true) => "svcifr4",
        (Ip::V6, true, true) => "svcifr6",
    }
}

/// The map from a host's number to its address, with or without port.
pub fn live_map(ip: Ip, port: bool) -> &'static str {
    match (ip, port) {
        (Ip::V4, true) => "live4",
        (Ip::V6, true) => "live6",
        (Ip::V4, false) => "keep4",
        (Ip::V6, false) => "keep6",
    }
}

/// The map from a redirect's slots to its hosts.
pub fn slot_map(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "slots4",
        Ip::V6 => "slots6",
    }
}

fn sticky_map(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "sticky4",
        Ip::V6 => "sticky6",
    }
}

/// The fixed chains.
pub fn base() -> Fragment {
    let mut fragment = Fragment::default();
    let mut add = |name: &str, hook: Option<Hook>, rules: Vec<Rule>| {
        fragment
            .chains
            .insert((Family::Inet, name.to_owned()), Chain { hook, rules });
    };
    let all = [(true, false), (false, false), (true, true), (false, true)];
    add("pre", nat(At::Prerouting, -100, "dstnat"), dispatch(&all));
    // A connection of this system itself has no incoming interface.
    add(
        "out",
        nat(At::Output, -100, "-100"),
        dispatch(&[(false, false), (false, true)]),
    );
    add(
        "post",
        nat(At::Postrouting, 100, "srcnat"),
        vec![masquerade()],
    );
    add(PICK, None, pick());
    add("stick", None, stick());
    add("learn", None, learn());
    add("fin", None, fin());
    fragment
}

fn nat(at: At, priority: i32, priority_name: &'static str) -> Option<Hook> {
    Some(Hook {
        kind: Kind::Nat,
        at,
        priority,
        priority_name,
        device: None,
    })
}

fn dispatch(which: &[(bool, bool)]) -> Vec<Rule> {
    let rule = |ip: Ip, interface: bool, interval: bool| {
        let mut key = vec![Load::Destination(ip), Load::Protocol, Load::DestinationPort];
        if interface {
            key.insert(0, Load::Interface);
        }
        let map = service_map(ip, interface, interval);
        vec![Statement::Dispatch { key, map, interval }]
    };
    Ip::BOTH
        .into_iter()
        .flat_map(|ip| {
            which
                .iter()
                .map(move |(interface, range)| rule(ip, *interface, *range))
        })
        .collect()
}

/// Chains that count every packet of a redirected connection once, after its mark is known.
pub fn traffic_chains() -> [(Name, Chain); 2] {
    let count = |at, from_wire: bool| {
        let [from_clients, to_clients] = TRAFFIC;
        let rule = |reply: bool| {
            let set = if reply { to_clients } else { from_clients };
            let mut rule = vec![Statement::Direction { reply }, Statement::MarkIn(set)];
            if from_wire {
                rule.insert(0, Statement::FromWire);
            }
            rule
        };
        let hook = Hook {
            kind: Kind::Filter,
            at,
            priority: -80,
            priority_name: "-80",
            device: None,
        };
        Chain {
            hook: Some(hook),
            rules: vec![rule(false), rule(true)],
        }
    };
    // A packet of this system to itself passes both hooks.
    [
        ("count", count(At::Prerouting, true)),
        ("count_out", count(At::Output, false)),
    ]
    .map(|(name, chain)| ((Family::Inet, name.to_owned()), chain))
}

fn masquerade() -> Rule {
    vec![
        Statement::Translated,
        Statement::RedirectIn("masq"),
        Statement::Masquerade,
    ]
}

fn remember(ip: Ip, action: Dynamic) -> Rule {
    vec![Statement::Learn {
        action,
        key: vec![Load::Redirect, Load::Source(ip)],
        map: sticky_map(ip),
        timeout: None,
    }]
}

fn translate() -> impl Iterator<Item = Rule> {
    [true, false].into_iter().flat_map(|port| {
        Ip::BOTH.into_iter().map(move |ip| {
            let map = live_map(ip, port);
            vec![Statement::Translate { ip, map, port }]
        })
    })
}

/// The mark is a slot; it becomes that of the slot's host. A slot nobody has, since the last host of the family went a
/// moment ago, is like a host without address at the end of `fin`.
pub(super) fn pick() -> Vec<Rule> {
    let from_slot = |ip| {
        vec![
            Statement::Family(ip),
            Statement::MarkFrom {
                key: vec![Load::Mark],
                map: slot_map(ip),
            },
            Statement::Verdict(Verdict::Return),
        ]
    };
    let mut rules: Vec<Rule> = Ip::BOTH.into_iter().map(from_slot).collect();
    rules.push(vec![Statement::Verdict(Verdict::Drop)]);
    rules
}

/// A client that is remembered goes to its host, if that lives; else the chain returns.
fn stick() -> Vec<Rule> {
    let lookup = |ip| {
        vec![Statement::MarkFrom {
            key: vec![Load::Mark, Load::Source(ip)],
            map: sticky_map(ip),
        }]
    };
    let mut rules: Vec<Rule> = Ip::BOTH.into_iter().map(lookup).collect();
    rules.push(vec![
        Statement::Host(false),
        Statement::Verdict(Verdict::Return),
    ]);
    rules.extend(Ip::BOTH.map(|ip| remember(ip, Dynamic::Update)));
    rules.extend(translate());
    rules
}

/// The client is remembered anew: an update alone would keep the old host.
fn learn() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Ip::BOTH
        .into_iter()
        .flat_map(|ip| [remember(ip, Dynamic::Delete), remember(ip, Dynamic::Update)])
        .collect();
    rules.push(vec![Statement::Verdict(Verdict::Goto("fin".to_owned()))]);
    rules
}

/// The destination is rewritten. A host that went between its choice and this place has no address any more: the packet
/// is dropped, and when the client repeats it another host is chosen. Left alone, it would be refused by this system.
fn fin() -> Vec<Rule> {
    let mut rules: Vec<Rule> = translate().collect();
    rules.push(vec![Statement::Verdict(Verdict::Drop)]);
    rules
}
