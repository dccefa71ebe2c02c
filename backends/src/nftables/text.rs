//! Our tables as `nft list` prints them: what `relayd -n --rules nftables` shows and `nft -f` can load.
//! Owns the spelling of every statement.
//! Must never be read back: the kernel is asked over netlink.

use super::model::{
    At, Carries, Chain, Data, Dynamic, Element, Family, Fragment, Hook, Ip, Key, Kind, Load, Name,
    Object, Rule, Selector, Set, Slots, Statement, Type, Value, Verdict,
};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write as _};

/// A table to be printed.
#[derive(Debug)]
pub struct Listing<'a> {
    /// Family.
    pub family: Family,
    /// Name.
    pub name: &'a str,
    /// Comment.
    pub comment: &'a str,
    /// Sets.
    pub sets: &'a [Set],
    /// Fragments, the fixed part first.
    pub fragments: Vec<&'a Fragment>,
}

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family.keyword(), self.name)?;
        writeln!(f, "\tcomment \"{}\"", self.comment)?;
        let ours = |name: &Name| name.0 == self.family;
        let objects = self.fragments.iter().flat_map(|x| &x.objects);
        let objects = objects.filter(|(name, _)| ours(name));
        let (counters, others): (Vec<_>, Vec<_>) =
            objects.partition(|(_, o)| matches!(o, Object::Counter(_)));
        for (name, object) in counters.into_iter().chain(others) {
            write_object(f, &name.1, object)?;
        }
        for set in self.sets.iter().filter(|s| s.family == self.family) {
            self.write_set(f, set)?;
        }
        let chains = self.fragments.iter().flat_map(|x| &x.chains);
        for (name, chain) in chains.filter(|(name, _)| ours(name)) {
            write_chain(f, name, chain)?;
        }
        f.write_str("}\n")
    }
}

impl Listing<'_> {
    fn write_set(&self, f: &mut Formatter<'_>, set: &Set) -> fmt::Result {
        let word = match set.carries {
            Carries::Nothing => "set",
            _ => "map",
        };
        writeln!(f, "\n\t{word} {} {{", set.name)?;
        write!(f, "\t\ttype {}", types(set.key))?;
        match set.carries {
            Carries::Nothing => writeln!(f)?,
            Carries::Verdict => writeln!(f, " : verdict")?,
            Carries::Values(values) => writeln!(f, " : {}", types(values))?,
        }
        if let Some(size) = set.size {
            writeln!(f, "\t\tsize {size}")?;
        }
        let flags = [
            (set.interval, "interval"),
            (set.dynamic, "dynamic"),
            (set.timeout.is_some(), "timeout"),
        ];
        let flags: Vec<&str> = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, n)| *n)
            .collect();
        if !flags.is_empty() {
            writeln!(f, "\t\tflags {}", flags.join(","))?;
        }
        if let Some(seconds) = set.timeout {
            writeln!(f, "\t\ttimeout {}", duration(seconds))?;
        }
        if set.counter {
            writeln!(f, "\t\tcounter")?;
        }
        self.write_elements(f, set)?;
        writeln!(f, "\t}}")
    }

    fn write_elements(&self, f: &mut Formatter<'_>, set: &Set) -> fmt::Result {
        let mut all: BTreeMap<&Key, &Element> = BTreeMap::new();
        for fragment in &self.fragments {
            all.extend(
                fragment
                    .elements
                    .get(&(set.family, set.name))
                    .into_iter()
                    .flatten(),
            );
        }
        let mut lines: Vec<String> = all.iter().map(|(k, e)| element(set, k, e)).collect();
        let slots = self.fragments.iter().map(|f| &f.slots);
        let slots = slots.filter_map(|s| s.get(&(set.family, set.name)));
        let slot = |(slot, host)| format!("{} : {}", Value::Mark(slot), Value::Mark(host));
        lines.extend(slots.flat_map(Slots::iter).map(slot));
        if lines.is_empty() {
            return Ok(());
        }
        writeln!(f, "\t\telements = {{ {} }}", lines.join(",\n\t\t\t     "))
    }
}

fn types(types: &[Type]) -> String {
    let names: Vec<&str> = types.iter().map(|t| t.name()).collect();
    names.join(" . ")
}

fn duration(seconds: u32) -> String {
    let parts = [
        (seconds / 86400, 'd'),
        (seconds / 3600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let mut text = String::new();
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, "{count}{unit}");
    }
    text
}

fn element(set: &Set, key: &Key, element: &Element) -> String {
    let mut text = values(key);
    if set.counter {
        text.push_str(" counter packets 0 bytes 0");
    }
    if let Some(comment) = &element.comment {
        let _ = write!(text, " comment \"{comment}\"");
    }
    let _ = match &element.data {
        Data::Nothing => Ok(()),
        Data::Goto(chain) => write!(text, " : goto {chain}"),
        Data::Values(data) => write!(text, " : {}", values(data)),
    };
    text
}

fn values(values: &[Value]) -> String {
    let parts: Vec<String> = values.iter().map(Value::to_string).collect();
    parts.join(" . ")
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Mark(n) => write!(f, "{n:#010x}"),
            Value::V4(a) => a.fmt(f),
            Value::V6(a) => a.fmt(f),
            Value::Protocol(6) => f.write_str("tcp"),
            Value::Protocol(17) => f.write_str("udp"),
            Value::Protocol(n) => write!(f, "{n}"),
            Value::Port(n) => write!(f, "{n}"),
            Value::Ports(a, b) if a == b => write!(f, "{a}"),
            Value::Ports(a, b) => write!(f, "{a}-{b}"),
            Value::Interface(name) => write!(f, "\"{name}\""),
        }
    }
}

fn write_object(f: &mut Formatter<'_>, name: &str, object: &Object) -> fmt::Result {
    match object {
        Object::Counter(comment) => {
            writeln!(f, "\tcounter {name} {{")?;
            writeln!(f, "\t\tcomment \"{comment}\"")?;
            writeln!(f, "\t\tpackets 0 bytes 0")?;
        }
        Object::Timeout(ip, seconds) => {
            writeln!(f, "\n\tct timeout {name} {{")?;
            writeln!(f, "\t\tprotocol tcp")?;
            writeln!(f, "\t\tl3proto {}", ip.keyword())?;
            writeln!(f, "\t\tpolicy = {{ established : {seconds} }}")?;
        }
    }
    writeln!(f, "\t}}")
}

fn write_chain(f: &mut Formatter<'_>, name: &Name, chain: &Chain) -> fmt::Result {
    writeln!(f, "\n\tchain {} {{", name.1)?;
    if let Some(hook) = &chain.hook {
        writeln!(f, "\t\t{hook}")?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{}", rule_text(name.0, rule))?;
    }
    writeln!(f, "\t}}")
}

/// A rule of a table of `family` in one line.
pub fn rule_text(family: Family, rule: &Rule) -> String {
    let parts: Vec<String> = rule.iter().map(Statement::to_string).collect();
    let mut text = parts.join(" ");
    if rule.first() == Some(&Statement::Closing) {
        text = text.replace("th sport . th dport", "tcp sport . tcp dport");
    }
    match family {
        Family::Inet => text,
        Family::Netdev => text
            .replace("ct mark", "meta mark")
            .replace("meta nfproto ipv4", "meta protocol ip")
            .replace("meta nfproto ipv6", "meta protocol ip6"),
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Nat => "nat",
            Kind::Filter => "filter",
        };
        let at = match self.at {
            At::Prerouting => "prerouting",
            At::Output => "output",
            At::Postrouting => "postrouting",
            At::Ingress => "ingress",
        };
        write!(f, "type {kind} hook {at} ")?;
        if let Some(device) = &self.device {
            write!(f, "device \"{device}\" ")?;
        }
        write!(f, "priority {}; policy accept;", self.priority_name)
    }
}

fn loads(parts: &[Load]) -> String {
    let parts: Vec<String> = parts.iter().map(Load::to_string).collect();
    parts.join(" . ")
}

impl Display for Load {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Load::Interface => f.write_str("iifname"),
            Load::Source(ip) => write!(f, "{} saddr", ip.keyword()),
            Load::Destination(ip) => write!(f, "{} daddr", ip.keyword()),
            Load::Protocol => f.write_str("meta l4proto"),
            Load::SourcePort => f.write_str("th sport"),
            Load::DestinationPort => f.write_str("th dport"),
            Load::Mark => f.write_str("ct mark"),
            Load::Redirect => f.write_str("ct mark & 0xfffff000"),
        }
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Increment => f.write_str("numgen inc"),
            Selector::Random => f.write_str("numgen random"),
            Selector::Hash { ip, .. } => write!(f, "jhash {} saddr", ip.keyword()),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Return => f.write_str("return"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Family(Ip::V4) => f.write_str("meta nfproto ipv4"),
            Statement::Family(Ip::V6) => f.write_str("meta nfproto ipv6"),
            Statement::Dispatch { key, map, .. } => write!(f, "{} vmap @{map}", loads(key)),
            Statement::NotOpening => f.write_str("tcp flags != syn / syn,ack"),
            Statement::Closing => f.write_str("tcp flags fin,rst"),
            Statement::Count(name) => write!(f, "counter name \"{name}\""),
            Statement::Timeout(name) => write!(f, "ct timeout set \"{name}\""),
            Statement::Label(bit) => write!(f, "ct label set {bit}"),
            Statement::SetMark(mark) => write!(f, "ct mark set {mark:#010x}"),
            Statement::IsMark(mark) => write!(f, "ct mark {mark:#010x}"),
            Statement::MarkFrom { key, map } => {
                write!(f, "ct mark set {} map @{map}", loads(key))
            }
            Statement::MarkFromSlot {
                selector,
                count,
                first,
            } => write_slot(f, *selector, *count, *first),
            Statement::Host(false) => f.write_str("ct mark & 0x00000fff == 0x00000000"),
            Statement::Host(true) => f.write_str("ct mark & 0x00000fff != 0x00000000"),
            Statement::Learn {
                action,
                key,
                map,
                timeout,
            } => write_learn(f, *action, key, map, *timeout),
            Statement::Connections { set, limit } => {
                write!(f, "add @{set} {{ ct mark ct count over {limit} }}")
            }
            Statement::Translate { ip, map, port } => {
                if *port {
                    f.write_str("meta l4proto { tcp, udp } ")?;
                }
                write!(f, "dnat {} to ct mark map @{map}", ip.keyword())
            }
            Statement::MarkIn(set) => write!(f, "ct mark @{set}"),
            Statement::FromWire => f.write_str("iifname != \"lo\""),
            Statement::Direction { reply: false } => f.write_str("ct direction original"),
            Statement::Direction { reply: true } => f.write_str("ct direction reply"),
            Statement::Translated => f.write_str("ct status dnat"),
            Statement::RedirectIn(set) => write!(f, "ct mark & 0xfffff000 == @{set}"),
            Statement::Masquerade => f.write_str("masquerade"),
            Statement::Log { prefix, group } => {
                write!(f, "log prefix \"{prefix}\" group {group}")
            }
            Statement::Forward { ip, map, device } => write!(
                f,
                "fwd {} to meta mark map @{map} device \"{device}\"",
                ip.keyword()
            ),
            Statement::Relay(part) => part.fmt(f),
            Statement::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

fn write_slot(f: &mut Formatter<'_>, selector: Selector, count: u32, first: u32) -> fmt::Result {
    write!(f, "ct mark set {selector} mod {count}")?;
    if let Selector::Hash { seed, .. } = selector {
        write!(f, " seed {seed:#x}")?;
    }
    write!(f, " offset {first}")
}

fn write_learn(
    f: &mut Formatter<'_>,
    action: Dynamic,
    key: &[Load],
    map: &str,
    timeout: Option<u32>,
) -> fmt::Result {
    let word = match action {
        Dynamic::Update => "update",
        Dynamic::Delete => "delete",
    };
    write!(f, "{word} @{map} {{ {}", loads(key))?;
    if let Some(seconds) = timeout {
        write!(f, " timeout {}", duration(seconds))?;
    }
    f.write_str(" : ct mark }")
}
