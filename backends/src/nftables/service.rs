//! One redirect as chains and elements of our table.
//! Owns the translation of every option of a redirect that rewrites addresses.
//! Must never look at another redirect: a change of one rewrites only its own part.

use super::dsr;
use super::layout::{LOG_GROUP, PICK, TRAFFIC, live_map, service_map, slot_map};
use super::model::{
    Chain, Data, Family, Fragment, Ip, Key, Name, Object, Rule, Selector, SetName, Slots,
    Statement, Value, Verdict,
};
use super::numbers::{Numbered, host_label};
use super::slots::{self, Candidate};
use crate::filter::{Server, ServerState, Service};
use conf::model::{Forward, Mode, VirtualAddress};
use std::collections::BTreeMap;

/// Ranges up to this many ports become single elements: changing an interval map is dear.
const RANGE_EXPANDED: u16 = 256;
pub(super) const TCP: u8 = 6;

/// What a redirect's part depends on besides the redirect itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Marks.
    pub numbered: Numbered,
    /// Connection label of the tag.
    pub label: Option<u8>,
    /// Pick lists of `least-states` by family; without, hosts take turns.
    pub picks: BTreeMap<Ip, Vec<u32>>,
    /// Limits by mark, and what is left of them where that is known better.
    pub remaining: BTreeMap<u32, (u32, u32)>,
}

/// The name of a redirect as part of chain names; what nft(8) would not read as a name is replaced, and the number
/// keeps such names apart.
pub fn identifier(name: &str, numbered: &Numbered) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.chars().all(plain) {
        return name.to_owned();
    }
    let kept: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    format!("{kept}/{}", numbered.redirect >> super::model::HOST_BITS)
}

/// Text inside double quotes.
pub fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| if c == '"' || c.is_control() { '_' } else { c })
        .take(120)
        .collect()
}

/// A part in the making.
pub(super) struct Builder<'a> {
    pub(super) service: &'a Service,
    pub(super) context: &'a Context,
    pub(super) name: String,
    pub(super) fragment: Fragment,
}

/// The part of the table that belongs to `service`.
pub fn fragment(service: &Service, context: &Context) -> Fragment {
    let mut builder = Builder {
        service,
        context,
        name: identifier(&service.name, &context.numbered),
        fragment: Fragment::default(),
    };
    builder.ids();
    match &service.forward {
        Forward::Translate => {
            builder.live();
            builder.entries();
            builder.chains();
        }
        Forward::Route { interface } => dsr::fill(&mut builder, interface),
    }
    builder.fragment
}

/// The timeout objects that the services share.
pub fn timeouts<'a>(services: impl Iterator<Item = &'a Service>) -> BTreeMap<Name, Object> {
    let mut objects = BTreeMap::new();
    for service in services.filter(|s| s.forward == Forward::Translate) {
        for ip in families(service, |l| l.ip_protocol == TCP) {
            let seconds = seconds(service);
            let name = (Family::Inet, timeout_name(ip, seconds));
            objects.insert(name, Object::Timeout(ip, seconds));
        }
    }
    objects
}

pub(super) fn seconds(service: &Service) -> u32 {
    u32::try_from(service.session_timeout.as_secs())
        .unwrap_or(u32::MAX)
        .clamp(1, i32::MAX.unsigned_abs())
}

fn timeout_name(ip: Ip, seconds: u32) -> String {
    format!("tcp{}_{seconds}", ip.digit())
}

pub(super) fn families(service: &Service, which: impl Fn(&VirtualAddress) -> bool) -> Vec<Ip> {
    let has = |ip: &Ip| {
        let mut all = service.listeners.iter();
        all.any(|l| Ip::from(l.address.ip) == *ip && which(l))
    };
    Ip::BOTH.into_iter().filter(has).collect()
}

impl Builder<'_> {
    pub(super) fn mark(&self, server: &Server) -> u32 {
        self.context.numbered.mark(server, self.service.keep_port)
    }

    /// Hosts of the table in use in one family; hosts that are not usable keep their place in a hash table.
    pub(super) fn candidates(&self, ip: Ip) -> Vec<Candidate> {
        let service = self.service;
        let mut seen = std::collections::BTreeSet::new();
        in_use(service)
            .filter(|s| Ip::from(s.address.ip) == ip)
            .filter(|s| seen.insert(self.mark(s)))
            .map(|s| Candidate {
                mark: self.mark(s),
                label: host_label(s, service.keep_port),
                weight: s.weight,
                usable: s.state == ServerState::Up,
            })
            .collect()
    }

    /// The number of slots, whoever is up; and the hosts in them.
    fn slots(&self, ip: Ip, candidates: &[Candidate]) -> (usize, Vec<u32>) {
        let key = &self.service.key.0;
        match self.service.mode {
            Mode::SourceHash | Mode::LoadBalance | Mode::Hash => {
                let length = slots::hash_length(candidates);
                (length, slots::hash_table(candidates, key))
            }
            mode => match self.context.picks.get(&ip) {
                // A list made before a host went down must not bring it back.
                Some(picks) if mode == Mode::LeastStates && !picks.is_empty() => {
                    (picks.len(), slots::without_lost(picks, candidates))
                }
                _ => (slots::length(candidates), slots::round_robin(candidates)),
            },
        }
    }

    fn ids(&mut self) {
        let redirect = self.context.numbered.redirect;
        let name = quoted(&self.service.name);
        self.fragment
            .element(
                (Family::Inet, "ids"),
                vec![Value::Mark(redirect)],
                Data::Nothing,
            )
            .comment = Some(name);
        for (label, mark) in &self.context.numbered.hosts {
            self.fragment
                .element(
                    (Family::Inet, "ids"),
                    vec![Value::Mark(*mark)],
                    Data::Nothing,
                )
                .comment = Some(label.clone());
            if self.service.count_traffic {
                for set in self.traffic_sets() {
                    let key = vec![Value::Mark(*mark)];
                    self.fragment.element(*set, key, Data::Nothing);
                }
            }
        }
    }

    /// Sets that count the packets of its hosts.
    fn traffic_sets(&self) -> &'static [SetName] {
        const BOTH: [SetName; 2] = [(Family::Inet, TRAFFIC[0]), (Family::Inet, TRAFFIC[1])];
        const INCOMING: [SetName; 1] = [(Family::Netdev, TRAFFIC[0])];
        match self.service.forward {
            Forward::Translate => &BOTH,
            Forward::Route { .. } => &INCOMING,
        }
    }

    /// Addresses of hosts that may get packets; a draining host keeps the clients that stick to it.
    fn live(&mut self) {
        let service = self.service;
        for server in in_use(service) {
            if server.state == ServerState::Down {
                continue;
            }
            let mut data = vec![Value::from(server.address.ip)];
            if !service.keep_port {
                data.push(Value::Port(server.port));
            }
            let mark = self.mark(server);
            let map = live_map(Ip::from(server.address.ip), !service.keep_port);
            let key: Key = vec![Value::Mark(mark)];
            self.fragment
                .element((Family::Inet, map), key, Data::Values(data));
        }
        if service.masquerade {
            let key = vec![Value::Mark(self.context.numbered.redirect)];
            self.fragment
                .element((Family::Inet, "masq"), key, Data::Nothing);
        }
    }

    /// Where clients connect, while there is a host of the family.
    fn entries(&mut self) {
        if !self.service.active {
            return;
        }
        for listener in &self.service.listeners {
            let ip = Ip::from(listener.address.ip);
            if !self.candidates(ip).iter().any(|c| c.usable) {
                continue;
            }
            let first = if listener.log { "l" } else { "r" };
            let chain = format!("{first}_{}", self.name);
            for (map, key) in keys(listener) {
                self.fragment
                    .element((Family::Inet, map), key, Data::Goto(chain.clone()));
            }
        }
    }

    fn chain(&mut self, prefix: &str, rules: Vec<Rule>) {
        let name = format!("{prefix}_{}", self.name);
        self.fragment
            .chains
            .insert((Family::Inet, name), Chain { hook: None, rules });
    }

    fn goto(&self, prefix: &str) -> Statement {
        Statement::Verdict(Verdict::Goto(format!("{prefix}_{}", self.name)))
    }

    fn chains(&mut self) {
        if self.service.listeners.iter().any(|l| l.log) {
            let log = Statement::Log {
                prefix: format!("relayd {}: ", quoted(&self.service.name)),
                group: LOG_GROUP,
            };
            let rules = vec![vec![log], vec![self.goto("r")]];
            self.chain("l", rules);
        }
        let mut rules = self.prologue();
        let next = if self.service.sticky { "learn" } else { "fin" };
        let next = Statement::Verdict(Verdict::Goto(next.to_owned()));
        rules.extend(self.hosts(Family::Inet));
        for ip in families(self.service, |_| true) {
            rules.extend(self.limits(ip, &next));
        }
        rules.push(vec![next]);
        self.chain("r", rules);
    }

    /// What happens to every connection before its host is chosen.
    fn prologue(&mut self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        let tcp = families(self.service, |l| l.ip_protocol == TCP);
        if !tcp.is_empty() {
            // A connection that was killed must not come to life again in the middle.
            rules.push(vec![
                Statement::NotOpening,
                Statement::Verdict(Verdict::Return),
            ]);
        }
        let counter = format!("c_{}", self.name);
        let comment = format!("redirect {}: sessions", quoted(&self.service.name));
        self.fragment
            .objects
            .insert((Family::Inet, counter.clone()), Object::Counter(comment));
        rules.push(vec![Statement::Count(counter)]);
        for ip in tcp {
            let timeout = Statement::Timeout(timeout_name(ip, seconds(self.service)));
            rules.push(vec![Statement::Family(ip), timeout]);
        }
        if let Some(label) = self.context.label {
            rules.push(vec![Statement::Label(label)]);
        }
        if self.service.sticky {
            rules.push(vec![Statement::SetMark(self.context.numbered.redirect)]);
            rules.push(vec![Statement::Verdict(Verdict::Jump("stick".to_owned()))]);
        }
        rules
    }

    /// The rules that choose a host: a slot of the redirect, and then who has it. The rules stay when hosts come and go.
    pub(super) fn hosts(&mut self, family: Family) -> Vec<Rule> {
        let both = families(self.service, |_| true);
        let mut rules: Vec<Rule> = Vec::new();
        for ip in &both {
            rules.extend(self.choose(family, *ip, both.len() > 1));
        }
        let pick = Verdict::Jump(PICK.to_owned());
        rules.push(vec![Statement::Verdict(pick)]);
        rules
    }

    fn choose(&mut self, family: Family, ip: Ip, both: bool) -> Option<Rule> {
        let candidates = self.candidates(ip);
        let (count, hosts) = self.slots(ip, &candidates);
        let first = self.context.numbered.redirect;
        let slots = Slots { first, hosts };
        self.fragment.slots.insert((family, slot_map(ip)), slots);
        let selector = match self.service.mode {
            Mode::Random => Selector::Random,
            Mode::SourceHash | Mode::LoadBalance | Mode::Hash => Selector::Hash {
                ip,
                seed: slots::seed(&self.service.key.0),
            },
            _ => Selector::Increment,
        };
        // A hash over an address says its family itself.
        let mut rule = match both && !matches!(selector, Selector::Hash { .. }) {
            true => vec![Statement::Family(ip)],
            false => Vec::new(),
        };
        let count = u32::try_from(count)
            .ok()
            .filter(|_| !candidates.is_empty())?;
        rule.push(Statement::MarkFromSlot {
            selector,
            count,
            first,
        });
        Some(rule)
    }

    /// A host with as many connections as it may have passes them to the others; if all are full, nobody gets them.
    fn limits(&mut self, ip: Ip, next: &Statement) -> Vec<Rule> {
        let hosts: Vec<&Server> = in_use(self.service)
            .filter(|s| Ip::from(s.address.ip) == ip)
            .collect();
        if hosts.iter().all(|s| s.max_connections.is_none()) {
            return Vec::new();
        }
        let prefix = format!("o{}", ip.digit());
        let counter = format!("{prefix}_{}", self.name);
        let comment = format!("redirect {}: overflow", quoted(&self.service.name));
        self.fragment
            .objects
            .insert((Family::Inet, counter.clone()), Object::Counter(comment));
        let spare = Statement::MarkIn("spare");
        let mut overflow = vec![vec![Statement::Count(counter)]];
        let mut rules = Vec::new();
        for host in hosts {
            let mark = self.mark(host);
            if host.state == ServerState::Up {
                let key = vec![Value::Mark(mark)];
                self.fragment
                    .element((Family::Inet, "spare"), key, Data::Nothing);
            }
            overflow.push(vec![Statement::SetMark(mark)]);
            if let Some(limit) = limit(host, mark, self.context) {
                let full = Statement::Connections { set: "cap", limit };
                rules.push(vec![
                    Statement::IsMark(mark),
                    full.clone(),
                    self.goto(&prefix),
                ]);
                overflow.push(vec![spare.clone(), full, Statement::SetMark(0)]);
            }
            overflow.push(vec![spare.clone(), next.clone()]);
        }
        overflow.push(vec![Statement::Verdict(Verdict::Drop)]);
        self.chain(&prefix, overflow);
        rules
    }
}

/// Hosts of the table in use, whatever their state.
fn in_use(service: &Service) -> impl Iterator<Item = &Server> {
    service.servers.iter().filter(|s| s.table == service.table)
}

/// Connections a host may get: what is left of its limit, where that is known better.
fn limit(server: &Server, mark: u32, context: &Context) -> Option<u32> {
    let limit = server.max_connections?;
    match context.remaining.get(&mark) {
        Some((of, left)) if *of == limit => Some(*left),
        _ => Some(limit),
    }
}

/// Limits by mark that the rules of a service contain.
pub fn limits(service: &Service, context: &Context) -> BTreeMap<u32, u32> {
    let of = |server: &Server| {
        let mark = context.numbered.mark(server, service.keep_port);
        Some((mark, limit(server, mark, context)?))
    };
    in_use(service).filter_map(of).collect()
}

/// The elements that stand for a listener.
pub fn keys(listener: &VirtualAddress) -> Vec<(&'static str, Key)> {
    let ip = Ip::from(listener.address.ip);
    let key = |port: Value| {
        let interface = listener.interface.iter().cloned().map(Value::Interface);
        let rest = [
            Value::from(listener.address.ip),
            Value::Protocol(listener.ip_protocol),
            port,
        ];
        interface.chain(rest).collect::<Key>()
    };
    let named = listener.interface.is_some();
    let (from, to) = (listener.port, listener.port_end.max(listener.port));
    if to - from < RANGE_EXPANDED {
        let map = service_map(ip, named, false);
        return (from..=to)
            .map(|port| (map, key(Value::Port(port))))
            .collect();
    }
    vec![(service_map(ip, named, true), key(Value::Ports(from, to)))]
}
