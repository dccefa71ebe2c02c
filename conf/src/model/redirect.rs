//! Redirects: connections that the packet filter sends to hosts (layer 3 and 4).
//! Owns their description.
//! Must never know how a packet filter expresses them.

use super::{Address, HashKey, Mode, RedirectId, TableId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `redirect "name" { … }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Id, from 1.
    pub id: RedirectId,
    /// Name, at most 31 bytes.
    pub name: String,
    /// `disable`
    pub disabled: bool,
    /// Virtual addresses, at least one.
    pub listeners: Vec<VirtualAddress>,
    /// Main table.
    pub table: TableId,
    /// Used while the main table is empty.
    pub backup: Option<TableId>,
    /// Whether the packet keeps its destination port (a port range without an explicit table port).
    pub keep_port: bool,
    /// Port connections are sent to, unless `keep_port`.
    pub port: u16,
    /// How hosts are chosen.
    pub mode: Mode,
    /// Key of a hashing mode.
    pub key: Option<HashKey>,
    /// Address translation or Direct Server Return.
    pub forward: Forward,
    /// `sticky-address`
    pub sticky: bool,
    /// `[match] pftag NAME`
    pub tag: Option<PfTag>,
    /// Idle time of an established connection.
    pub session_timeout: Duration,
    /// Servers do not route back: masquerade (extension).
    pub masquerade: bool,
}

/// `listen on ADDR [PROTO] port P[:P2] [interface IF] [pflog]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualAddress {
    /// Address clients connect to.
    pub address: Address,
    /// IP protocol number: 6 TCP, 17 UDP.
    pub ip_protocol: u8,
    /// First port.
    pub port: u16,
    /// Last port; equal to `port` for a single one.
    pub port_end: u16,
    /// Only packets that come in here.
    pub interface: Option<String>,
    /// `pflog`
    pub log: bool,
}

/// How a packet reaches its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forward {
    /// `forward to`: the destination address is rewritten.
    Translate,
    /// `route to … interface IF`: the packet is sent on unchanged (Direct Server Return).
    Route {
        /// Where the hosts are.
        interface: String,
    },
}

/// `[match] pftag NAME`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PfTag {
    /// Name, at most 63 bytes.
    pub name: String,
    /// `match pftag`: leave the decision to the administrator's rules.
    pub match_only: bool,
}
