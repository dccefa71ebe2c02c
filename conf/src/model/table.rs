//! Tables: groups of hosts that are checked in the same way.
//! Owns table instances (`name:port`) and their hosts.
//! Must never hold run-time state such as up or down.

use super::{Check, HostId, TableId};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// A table instance: a table definition as one `forward to` uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Id, from 1 in order of instantiation.
    pub id: TableId,
    /// Instance name `name:port`, at most 63 bytes.
    pub name: String,
    /// Name of the definition, without port.
    pub template: String,
    /// Destination port; 65535 in a router that gives none.
    pub port: u16,
    /// `disable`
    pub disabled: bool,
    /// How hosts are checked.
    pub check: Check,
    /// Time limit of one check.
    pub timeout: Duration,
    /// Time between two checks of a host.
    pub interval: Duration,
    /// Interface group to demote while the table is empty.
    pub demote: Option<String>,
    /// Time in which the share of a host that is up again grows to its weight (extension `slow start`).
    pub slow_start: Option<Duration>,
    /// Room for sessions while all hosts are full (extension `queue`).
    pub queue: Option<Queue>,
    /// The hosts, in file order.
    pub hosts: Vec<Host>,
}

/// `queue LENGTH [wait SECONDS]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Most sessions that wait at once, over all relay processes; at least 1.
    pub length: u32,
    /// Longest time that one waits.
    pub wait: Duration,
}

/// A host of a table instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Id, from 1 over all instances.
    pub id: HostId,
    /// The host as written in the file.
    pub name: String,
    /// Its address.
    pub address: Address,
    /// Failed checks that an up host survives.
    pub retry: u32,
    /// Host whose state this one copies.
    pub parent: Option<HostId>,
    /// Route priority 0 to 63 (routers); 0 = system default.
    pub priority: u8,
    /// TTL or hop limit of check packets; 0 = system default.
    pub ip_ttl: u8,
    /// Share of new connections (extension `weight`), 1 to 256.
    pub weight: u16,
    /// Most connections at once (extension `max connections`); `None` = no limit.
    pub max_connections: Option<u32>,
}

/// An IP address, with the zone of a link-local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// IPv6 scope id; 0 = none.
    pub scope: u32,
}

impl Address {
    /// The socket address of `port` at this address.
    pub fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope).into(),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Address { ip, scope: 0 }
    }
}

/// How a host is chosen (`mode …`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Uniformly random.
    Random,
    /// By client address.
    SourceHash,
    /// Fewest states (redirects only).
    LeastStates,
    /// By client and relay address (relays only).
    LoadBalance,
    /// By what `hash` filter actions feed in (relays only).
    Hash,
    /// Fewest open sessions (relays only; extension).
    LeastConnections,
}

impl Mode {
    /// The keyword in relayd.conf.
    pub fn keyword(self) -> &'static str {
        match self {
            Mode::RoundRobin => "roundrobin",
            Mode::Random => "random",
            Mode::SourceHash => "source-hash",
            Mode::LeastStates => "least-states",
            Mode::LoadBalance => "loadbalance",
            Mode::Hash => "hash",
            Mode::LeastConnections => "least-connections",
        }
    }

    /// Whether the mode takes a key.
    pub fn keyed(self) -> bool {
        matches!(self, Mode::SourceHash | Mode::LoadBalance | Mode::Hash)
    }
}

/// 128-bit key of the hashing modes; `None` in its owner means "random at each load".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HashKey(pub [u8; 16]);
