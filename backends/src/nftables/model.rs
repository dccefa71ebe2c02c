//! Our tables as plain data: what the kernel shall hold and what `relayd -n --rules nftables` prints.
//! Owns the types of sets, elements, chains and statements; text and netlink messages are both made from them.
//! Must never know a redirect: that is [`super::layout`] and [`super::service`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bits of a ct mark that number the host; the bits above number the redirect.
pub const HOST_BITS: u32 = 12;
/// Mask of the host's number.
pub const HOST_MASK: u32 = (1 << HOST_BITS) - 1;
/// Mask of the redirect's number.
pub const REDIRECT_MASK: u32 = !HOST_MASK;

/// Address family of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ip {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Ip {
    /// Both.
    pub const BOTH: [Ip; 2] = [Ip::V4, Ip::V6];

    /// `ip` or `ip6`.
    pub fn keyword(self) -> &'static str {
        match self {
            Ip::V4 => "ip",
            Ip::V6 => "ip6",
        }
    }

    /// The number in our set names.
    pub fn digit(self) -> char {
        match self {
            Ip::V4 => '4',
            Ip::V6 => '6',
        }
    }
}

impl From<std::net::IpAddr> for Ip {
    fn from(address: std::net::IpAddr) -> Ip {
        if address.is_ipv4() { Ip::V4 } else { Ip::V6 }
    }
}

/// Type of one part of a key or of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `mark`
    Mark,
    /// `ipv4_addr` or `ipv6_addr`
    Address(Ip),
    /// `inet_proto`
    Protocol,
    /// `inet_service`
    Port,
    /// `ifname`
    Interface,
}

impl Type {
    /// Name in a listing.
    pub fn name(self) -> &'static str {
        match self {
            Type::Mark => "mark",
            Type::Address(Ip::V4) => "ipv4_addr",
            Type::Address(Ip::V6) => "ipv6_addr",
            Type::Protocol => "inet_proto",
            Type::Port => "inet_service",
            Type::Interface => "ifname",
        }
    }

    /// Bytes of a value, without padding.
    pub fn length(self) -> u32 {
        match self {
            Type::Mark | Type::Address(Ip::V4) => 4,
            Type::Address(Ip::V6) | Type::Interface => 16,
            Type::Protocol => 1,
            Type::Port => 2,
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// ct mark or meta mark.
    Mark(u32),
    /// Address.
    V4(Ipv4Addr),
    /// Address.
    V6(Ipv6Addr),
    /// IP protocol.
    Protocol(u8),
    /// Port.
    Port(u16),
    /// Ports from, to.
    Ports(u16, u16),
    /// Interface name.
    Interface(String),
}

impl From<std::net::IpAddr> for Value {
    fn from(address: std::net::IpAddr) -> Value {
        match address {
            std::net::IpAddr::V4(a) => Value::V4(a),
            std::net::IpAddr::V6(a) => Value::V6(a),
        }
    }
}

/// What a set's elements carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Nothing: a set.
    Nothing,
    /// A verdict.
    Verdict,
    /// Values.
    Values(&'static [Type]),
}

/// A named set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Table it is in.
    pub family: Family,
    /// Name.
    pub name: &'static str,
    /// Parts of the key.
    pub key: &'static [Type],
    /// Data.
    pub carries: Carries,
    /// Keys may be ranges.
    pub interval: bool,
    /// The packet path adds elements.
    pub dynamic: bool,
    /// Elements vanish after this many seconds.
    pub timeout: Option<u32>,
    /// Most elements; the kernel demands one for dynamic sets.
    pub size: Option<u32>,
    /// Elements count packets.
    pub counter: bool,
}

/// Data of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// None: element of a set.
    Nothing,
    /// `goto CHAIN`
    Goto(String),
    /// Values.
    Values(Vec<Value>),
}

/// An element without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Data.
    pub data: Data,
    /// Comment, at most 127 bytes.
    pub comment: Option<String>,
}

/// Key of an element in its set.
pub type Key = Vec<Value>;

/// A stateful object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// Named counter with comment.
    Counter(String),
    /// `ct timeout` of established TCP connections in seconds.
    Timeout(Ip, u32),
}

/// Where a base chain sits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `nat`, `filter` or `route`
    pub kind: Kind,
    /// Hook.
    pub at: At,
    /// Priority.
    pub priority: i32,
    /// Priority as the listing names it.
    pub priority_name: &'static str,
    /// Device (netdev tables).
    pub device: Option<String>,
}

/// Kind of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Address translation.
    Nat,
    /// Anything else.
    Filter,
}

/// Hook of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before routing.
    Prerouting,
    /// Own packets.
    Output,
    /// After routing.
    Postrouting,
    /// Straight from the device.
    Ingress,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Set for base chains.
    pub hook: Option<Hook>,
    /// Rules.
    pub rules: Vec<Rule>,
}

/// A rule: statements from left to right.
pub type Rule = Vec<Statement>;

/// Where a key part comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// `iifname`
    Interface,
    /// `ip saddr`
    Source(Ip),
    /// `ip daddr`
    Destination(Ip),
    /// `meta l4proto`
    Protocol,
    /// `th sport`
    SourcePort,
    /// `th dport`
    DestinationPort,
    /// `ct mark`
    Mark,
    /// `ct mark & 0xfffff000`
    Redirect,
}

/// How the number of a slot is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One after the other.
    Increment,
    /// Uniformly random.
    Random,
    /// By client address.
    Hash {
        /// Family.
        ip: Ip,
        /// Seed.
        seed: u32,
    },
}

/// What the packet path does with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Adds, or renews the timeout; never changes data.
    Update,
    /// Deletes.
    Delete,
}

/// End of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `accept`
    Accept,
    /// `return`
    Return,
    /// `drop`
    Drop,
    /// `jump CHAIN`
    Jump(String),
    /// `goto CHAIN`
    Goto(String),
}

/// Part of a rule. What is called ct mark here is the packet's mark in a netdev table, which has no connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `meta nfproto ipv4`
    Family(Ip),
    /// `… vmap @map`
    Dispatch {
        /// Key.
        key: Vec<Load>,
        /// Map.
        map: &'static str,
        /// The map holds ranges.
        interval: bool,
    },
    /// `tcp flags != syn / syn,ack`: a TCP packet that does not open a connection.
    NotOpening,
    /// `tcp flags fin,rst`: a TCP packet that ends a connection.
    Closing,
    /// `counter name "…"`
    Count(String),
    /// `ct timeout set "…"`
    Timeout(String),
    /// `ct label set N`
    Label(u8),
    /// `ct mark set N`
    SetMark(u32),
    /// `ct mark N`
    IsMark(u32),
    /// `ct mark set KEY map @MAP`
    MarkFrom {
        /// Key.
        key: Vec<Load>,
        /// Map.
        map: &'static str,
    },
    /// `ct mark set SELECTOR mod COUNT offset FIRST`
    MarkFromSlot {
        /// How.
        selector: Selector,
        /// Number of slots, at least 1.
        count: u32,
        /// The first slot: the redirect's part of a mark.
        first: u32,
    },
    /// `ct mark & 0x00000fff == 0x00000000`, or `!=`
    Host(bool),
    /// `update @MAP { KEY : ct mark }`
    Learn {
        /// What.
        action: Dynamic,
        /// Key.
        key: Vec<Load>,
        /// Map.
        map: &'static str,
        /// Own timeout in seconds.
        timeout: Option<u32>,
    },
    /// `add @cap { ct mark ct count over N }`
    Connections {
        /// Set.
        set: &'static str,
        /// Limit of an element that is not in the set yet.
        limit: u32,
    },
    /// `[meta l4proto { tcp, udp }] dnat ip to ct mark map @MAP`
    Translate {
        /// Family.
        ip: Ip,
        /// Map.
        map: &'static str,
        /// The map gives a port too.
        port: bool,
    },
    /// `meta mark @SET`: counts in the element of the mark
    MarkIn(&'static str),
    /// `iifname != "lo"`: not a packet of this system to itself
    FromWire,
    /// `ct direction original` (from the client) or `reply`
    Direction {
        /// From the host.
        reply: bool,
    },
    /// `ct status dnat`
    Translated,
    /// `ct mark & 0xfffff000 == @SET`
    RedirectIn(&'static str),
    /// `masquerade`
    Masquerade,
    /// `log prefix "…" group N`
    Log {
        /// Prefix.
        prefix: String,
        /// Group.
        group: u16,
    },
    /// `fwd ip to MARK map @MAP device "…"`
    Forward {
        /// Family.
        ip: Ip,
        /// Map.
        map: &'static str,
        /// Device.
        device: String,
    },
    /// What only relays need.
    Relay(super::relays::Part),
    /// End.
    Verdict(Verdict),
}

/// Name of a chain or object, and the table it is in.
pub type Name = (Family, String);
/// Name of a set, and the table it is in.
pub type SetName = (Family, &'static str);

/// Objects, chains and elements that belong together: the fixed part, or one redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Objects by name.
    pub objects: BTreeMap<Name, Object>,
    /// Chains by name.
    pub chains: BTreeMap<Name, Chain>,
    /// Elements by set and key.
    pub elements: BTreeMap<SetName, BTreeMap<Key, Element>>,
    /// Slots by map; there are too many of them to be elements each.
    pub slots: BTreeMap<SetName, Slots>,
}

/// The slots of one redirect in one map from marks to marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Mark of the first slot; the others follow it.
    pub first: u32,
    /// Marks of the hosts that have them.
    pub hosts: Vec<u32>,
}

impl Slots {
    /// Slot and host.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        (self.first..).zip(self.hosts.iter().copied())
    }

    /// Those slots and hosts that are not the same in `other`.
    pub fn without<'a>(&'a self, other: &'a Slots) -> impl Iterator<Item = (u32, u32)> {
        let known = |slot: u32| {
            let place = usize::try_from(slot.checked_sub(other.first)?).ok()?;
            other.hosts.get(place).copied()
        };
        self.iter()
            .filter(move |(slot, host)| known(*slot) != Some(*host))
    }
}

impl Fragment {
    /// Adds an element.
    pub fn element(&mut self, set: SetName, key: Key, data: Data) -> &mut Element {
        let entry = self.elements.entry(set).or_default().entry(key);
        entry.or_insert(Element {
            data,
            comment: None,
        })
    }
}

/// Family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Both IP versions.
    Inet,
    /// Packets of a device.
    Netdev,
}

impl Family {
    /// Keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Netdev => "netdev",
        }
    }
}
