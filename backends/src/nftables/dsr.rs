//! `route to`: packets go to their host unchanged, straight from the device they came in on, and the host answers the
//! client itself (Direct Server Return).
//! Owns the netdev table: its sets, and the chains of such redirects.
//! Must never depend on connection tracking, which sees one side of these connections only.

use super::layout::{
    PICK, STICKY_MAX, STICKY_SECONDS, SVC4, SVC6, TRAFFIC, pick, plain, service, traffic,
};
use super::model::{
    At, Carries, Chain, Data, Dynamic, Family, Hook, Ip, Kind, Load, Name, Object, Rule, Set,
    Statement, Type, Value, Verdict,
};
use super::service::{Builder, TCP, families, keys, quoted, seconds};
use crate::filter::{FilterError, ServerState, Service};
use conf::model::{Forward, Mode, VirtualAddress};
use std::collections::BTreeSet;

/// Flows remembered, per family.
const FLOWS_MAX: u32 = 262_144;
/// Seconds a flow is remembered, where its redirect says nothing else.
const FLOW_SECONDS: u32 = 600;
/// Seconds a TCP flow is remembered after its client closed it.
const CLOSING_SECONDS: u32 = 60;

/// Set that counts packets from clients by host; answers do not come this way.
const INCOMING: &str = TRAFFIC[0];
/// Hosts whose packets are counted: while a host is down its elements in [`INCOMING`] stay, but no packet goes there.
const COUNTED: &str = "counted";
/// Maps from a flow to the mark of its host.
pub const FLOWS: [&str; 2] = ["flows4", "flows6"];

const fn netdev(set: Set) -> Set {
    Set {
        family: Family::Netdev,
        ..set
    }
}

const fn learned(name: &'static str, key: &'static [Type], seconds: u32, size: u32) -> Set {
    netdev(Set {
        dynamic: true,
        timeout: Some(seconds),
        size: Some(size),
        ..plain(name, key, Carries::Values(&[Type::Mark]))
    })
}

/// The sets of the netdev table.
pub fn sets() -> Vec<Set> {
    // The address stands last: what nft 1.0.6 lists in another order it cannot load.
    const FLOW4: &[Type] = &[Type::Mark, Type::Port, Type::Port, Type::Address(Ip::V4)];
    const FLOW6: &[Type] = &[Type::Mark, Type::Port, Type::Port, Type::Address(Ip::V6)];
    const STICKY4: &[Type] = &[Type::Mark, Type::Address(Ip::V4)];
    const STICKY6: &[Type] = &[Type::Mark, Type::Address(Ip::V6)];
    let live = |name, data| netdev(plain(name, &[Type::Mark], Carries::Values(data)));
    let sessions = Set {
        counter: true,
        ..plain("sessions", &[Type::Mark], Carries::Nothing)
    };
    vec![
        netdev(traffic(INCOMING)),
        netdev(plain(COUNTED, &[Type::Mark], Carries::Nothing)),
        netdev(sessions),
        netdev(service("svc4", SVC4, false)),
        netdev(service("svc6", SVC6, false)),
        netdev(service("svcr4", SVC4, true)),
        netdev(service("svcr6", SVC6, true)),
        live("slots4", &[Type::Mark]),
        live("slots6", &[Type::Mark]),
        live("live4", &[Type::Address(Ip::V4)]),
        live("live6", &[Type::Address(Ip::V6)]),
        learned(FLOWS[0], FLOW4, FLOW_SECONDS, FLOWS_MAX),
        learned(FLOWS[1], FLOW6, FLOW_SECONDS, FLOWS_MAX),
        learned("sticky4", STICKY4, STICKY_SECONDS, STICKY_MAX),
        learned("sticky6", STICKY6, STICKY_SECONDS, STICKY_MAX),
    ]
}

fn map(kind: [&'static str; 2], ip: Ip) -> &'static str {
    let [v4, v6] = kind;
    match ip {
        Ip::V4 => v4,
        Ip::V6 => v6,
    }
}

fn flow(ip: Ip) -> &'static str {
    map(FLOWS, ip)
}

fn sticky(ip: Ip) -> &'static str {
    map(["sticky4", "sticky6"], ip)
}

/// Whether a service needs the netdev table.
pub fn needed<'a>(mut services: impl Iterator<Item = &'a Service>) -> bool {
    services.any(|s| matches!(s.forward, Forward::Route { .. }))
}

/// Devices whose packets are looked at: those the listeners name, else the one the hosts are on.
pub fn devices<'a>(services: impl Iterator<Item = &'a Service>) -> BTreeSet<String> {
    let mut devices = BTreeSet::new();
    for service in services {
        if let Forward::Route { interface } = &service.forward {
            let of = |l: &VirtualAddress| l.interface.as_ref().unwrap_or(interface).clone();
            devices.extend(service.listeners.iter().map(of));
        }
    }
    devices
}

/// The fixed chain, if there is a base chain; and one of those for each device.
pub fn base_chains<'a>(
    services: impl Iterator<Item = &'a Service>,
) -> impl Iterator<Item = (Name, Chain)> {
    let devices = devices(services);
    let fixed = (!devices.is_empty()).then(|| {
        let chain = Chain {
            hook: None,
            rules: pick(),
        };
        ((Family::Netdev, PICK.to_owned()), chain)
    });
    fixed.into_iter().chain(device_chains(devices))
}

fn device_chains(devices: BTreeSet<String>) -> impl Iterator<Item = (Name, Chain)> {
    let dispatch = |ip: Ip, interval: bool| {
        vec![Statement::Dispatch {
            key: vec![Load::Destination(ip), Load::Protocol, Load::DestinationPort],
            map: match interval {
                false => map(["svc4", "svc6"], ip),
                true => map(["svcr4", "svcr6"], ip),
            },
            interval,
        }]
    };
    devices.into_iter().map(move |device| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let kept = device.chars().map(|c| if plain(c) { c } else { '_' });
        let name = format!("in_{}", kept.collect::<String>());
        let hook = Hook {
            kind: Kind::Filter,
            at: At::Ingress,
            priority: 0,
            priority_name: "filter",
            device: Some(device),
        };
        let rules = [false, true]
            .into_iter()
            .flat_map(|interval| Ip::BOTH.map(|ip| dispatch(ip, interval)));
        let chain = Chain {
            hook: Some(hook),
            rules: rules.collect(),
        };
        ((Family::Netdev, name), chain)
    })
}

/// What `route to` cannot do here.
///
/// # Errors
/// The first such option.
pub fn check(service: &Service) -> Result<(), FilterError> {
    if service.forward == Forward::Translate {
        return Ok(());
    }
    let ports = |l: &VirtualAddress| {
        service.keep_port
            || (l.port == l.port_end && service.servers.iter().all(|s| s.port == l.port))
    };
    let refused = [
        (service.tag.is_some(), "`pftag` together with `route to`"),
        (
            service.listeners.iter().any(|l| l.log),
            "`pflog` together with `route to`",
        ),
        (
            service.servers.iter().any(|s| s.max_connections.is_some()),
            "a limit of connections together with `route to`",
        ),
        (
            service.mode == Mode::LeastStates,
            "mode `least-states` together with `route to`",
        ),
        (
            !service.listeners.iter().all(ports),
            "another port at the hosts together with `route to`",
        ),
    ];
    match refused.into_iter().find(|(refused, _)| *refused) {
        None => Ok(()),
        Some((_, what)) => Err(FilterError::Unsupported {
            object: format!("redirect {}", service.name),
            what,
            backend: "nftables",
        }),
    }
}

/// Fills the part of a redirect whose hosts are on `interface`.
pub(super) fn fill(builder: &mut Builder<'_>, interface: &str) {
    live(builder);
    entries(builder);
    let name = builder.name.clone();
    let counter = format!("c_{name}");
    let comment = format!("redirect {}: sessions", quoted(&builder.service.name));
    builder
        .fragment
        .objects
        .insert((Family::Netdev, counter.clone()), Object::Counter(comment));
    let rules = decide(builder, &counter);
    let sticky = builder.service.sticky;
    let seconds = seconds(builder.service);
    let both = families(builder.service, |_| true);
    let count = builder.service.count_traffic;
    let mut add = |prefix: &str, mut rules: Vec<Rule>| {
        // In all but the first chain the mark is that of the host.
        if count && prefix != "d" {
            // A packet of a host that went is not sent on here, and may be another host's in the next chain.
            let counted = [COUNTED, INCOMING].map(Statement::MarkIn);
            rules.insert(0, counted.into());
        }
        let chain = Chain { hook: None, rules };
        let name = (Family::Netdev, format!("{prefix}_{name}"));
        builder.fragment.chains.insert(name, chain);
    };
    add("d", rules);
    add("k", known(&both, seconds, interface));
    add("n", new(&both, seconds, sticky, interface));
    if sticky {
        let mut rules: Vec<Rule> = both.iter().map(|ip| stick(*ip, Dynamic::Update)).collect();
        rules.extend(
            both.iter()
                .map(|ip| learn(*ip, Dynamic::Update, Some(seconds))),
        );
        rules.extend(both.iter().map(|ip| forward(*ip, interface)));
        add("s", rules);
    }
}

fn live(builder: &mut Builder<'_>) {
    let service = builder.service;
    for server in service.servers.iter().filter(|s| s.table == service.table) {
        if server.state == ServerState::Down {
            continue;
        }
        let key = vec![Value::Mark(builder.mark(server))];
        let map = map(["live4", "live6"], Ip::from(server.address.ip));
        let data = Data::Values(vec![Value::from(server.address.ip)]);
        let fragment = &mut builder.fragment;
        fragment.element((Family::Netdev, map), key.clone(), data);
        if service.count_traffic {
            fragment.element((Family::Netdev, COUNTED), key.clone(), Data::Nothing);
        }
        fragment.element((Family::Netdev, "sessions"), key, Data::Nothing);
    }
}

fn entries(builder: &mut Builder<'_>) {
    if !builder.service.active {
        return;
    }
    for listener in &builder.service.listeners {
        let ip = Ip::from(listener.address.ip);
        if !builder.candidates(ip).iter().any(|c| c.usable) {
            continue;
        }
        // The base chain of the device stands for the interface.
        let anywhere = VirtualAddress {
            interface: None,
            ..listener.clone()
        };
        for (map, key) in keys(&anywhere) {
            let chain = format!("d_{}", builder.name);
            let set = (Family::Netdev, map);
            builder.fragment.element(set, key, Data::Goto(chain));
        }
    }
}

fn verdict(prefix: &str, name: &str, jump: bool) -> Statement {
    let chain = format!("{prefix}_{name}");
    Statement::Verdict(match jump {
        true => Verdict::Jump(chain),
        false => Verdict::Goto(chain),
    })
}

/// A packet of a known flow goes on; one that opens a flow gets a host; any other is left to the system.
fn decide(builder: &mut Builder<'_>, counter: &str) -> Vec<Rule> {
    let hosts = builder.hosts(Family::Netdev);
    let (service, name) = (builder.service, builder.name.as_str());
    let redirect = builder.context.numbered.redirect;
    let both = families(service, |_| true);
    let lookup = |ip: &Ip, map: fn(Ip) -> &'static str, ports: bool| {
        let mut key = vec![Load::Mark];
        if ports {
            key.extend([Load::SourcePort, Load::DestinationPort]);
        }
        key.push(Load::Source(*ip));
        vec![Statement::MarkFrom { key, map: map(*ip) }]
    };
    let mut rules: Vec<Rule> = vec![vec![Statement::SetMark(redirect)]];
    rules.extend(both.iter().map(|ip| lookup(ip, flow, true)));
    rules.push(vec![Statement::Host(true), verdict("k", name, true)]);
    if !families(service, |l| l.ip_protocol == TCP).is_empty() {
        rules.push(vec![
            Statement::NotOpening,
            Statement::Verdict(Verdict::Return),
        ]);
    }
    rules.push(vec![Statement::Count(counter.to_owned())]);
    if service.sticky {
        rules.push(vec![Statement::SetMark(redirect)]);
        rules.extend(both.iter().map(|ip| lookup(ip, sticky, false)));
        rules.push(vec![Statement::Host(true), verdict("s", name, true)]);
    }
    rules.extend(hosts);
    rules.push(vec![verdict("n", name, false)]);
    rules
}

fn learn(ip: Ip, action: Dynamic, timeout: Option<u32>) -> Rule {
    vec![Statement::Learn {
        action,
        key: vec![
            Load::Redirect,
            Load::SourcePort,
            Load::DestinationPort,
            Load::Source(ip),
        ],
        map: flow(ip),
        timeout,
    }]
}

fn stick(ip: Ip, action: Dynamic) -> Rule {
    vec![Statement::Learn {
        action,
        key: vec![Load::Redirect, Load::Source(ip)],
        map: sticky(ip),
        timeout: None,
    }]
}

fn forward(ip: Ip, device: &str) -> Rule {
    vec![Statement::Forward {
        ip,
        map: map(["live4", "live6"], ip),
        device: device.to_owned(),
    }]
}

fn known(both: &[Ip], seconds: u32, device: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = both
        .iter()
        .map(|ip| learn(*ip, Dynamic::Update, Some(seconds)))
        .collect();
    rules.extend(both.iter().map(|ip| {
        let mut rule = vec![Statement::Closing];
        rule.extend(learn(*ip, Dynamic::Update, Some(CLOSING_SECONDS)));
        rule
    }));
    rules.extend(both.iter().map(|ip| forward(*ip, device)));
    rules
}

fn new(both: &[Ip], seconds: u32, sticky: bool, device: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = vec![vec![Statement::MarkIn("sessions")]];
    for ip in both {
        rules.push(learn(*ip, Dynamic::Delete, None));
        rules.push(learn(*ip, Dynamic::Update, Some(seconds)));
        if sticky {
            rules.push(stick(*ip, Dynamic::Delete));
            rules.push(stick(*ip, Dynamic::Update));
        }
    }
    rules.extend(both.iter().map(|ip| forward(*ip, device)));
    // The host went between its choice and this place: the client repeats the packet.
    rules.push(vec![Statement::Verdict(Verdict::Drop)]);
    rules
}
