//! Relays: connections that the daemon itself passes on (layer 7).
//! Owns their description; each listener is a relay of its own, as in the original.
//! Must never hold sockets or sessions.

use super::{AccessLog, Address, HashKey, Mode, ProtocolId, RelayId, TableId};
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;
use std::time::Duration;

/// `relay "name" { … }`, one per listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Id, from 1.
    pub id: RelayId,
    /// Name; further listeners of a block are called `NAME<id>:<port>`.
    pub name: String,
    /// Name of the block this listener was written in.
    pub block: String,
    /// `disable`: accept and close.
    pub disabled: bool,
    /// Where clients connect.
    pub listen: Listen,
    /// Protocol block; 0 is the built-in TCP protocol.
    pub protocol: ProtocolId,
    /// Where connections go.
    pub target: Target,
    /// Tables in file order: the fallback chain, and what rules may choose.
    pub tables: Vec<RelayTable>,
    /// Key of the hashing modes (that of the first table that gives one).
    pub key: Option<HashKey>,
    /// Immediate connect failures that are repeated.
    pub retry: u32,
    /// `transparent`: connect with the client's address.
    pub transparent: bool,
    /// `forward with tls`
    pub tls_client: bool,
    /// `inet` or `inet6 PREFIX`: translate the target's address family.
    pub translate: Option<Translate>,
    /// PROXY header sent to the server.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Idle time after which a session is closed.
    pub session_timeout: Duration,
    /// `log access …` (extension)
    pub access: Option<AccessLog>,
    /// Most sessions at once.
    pub session_max: SessionMax,
}

/// `session max N`, `session max per client N` (extension).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMax {
    /// Of all clients, in all relay processes together.
    pub all: Option<u32>,
    /// Of one client, in each relay process.
    pub client: Option<u32>,
}

/// `listen on ADDR port P [interface IF] [tls] [proxy-protocol]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Address.
    pub address: Address,
    /// Port.
    pub port: u16,
    /// `interface IF` (extension), with `forward to destination`: connections that come in there.
    pub interface: Option<String>,
    /// `tls`
    pub tls: bool,
    /// `proxy-protocol` (extension): connections begin with a PROXY header that names the client.
    pub proxy: bool,
}

/// Where a relay's connections go when no table decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Only the tables.
    Tables,
    /// `forward to ADDR port P`; used only if there are no tables.
    Address {
        /// Server.
        address: Address,
        /// Its port.
        port: u16,
    },
    /// `forward to nat lookup`, with the alternate target if written.
    NatLookup(Option<(Address, u16)>),
    /// `forward to destination`, with the alternate target if written.
    Destination(Option<(Address, u16)>),
}

/// A table of a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayTable {
    /// The instance.
    pub table: TableId,
    /// How its hosts are chosen.
    pub mode: Mode,
    /// How clients come back to their host.
    pub cookie: Option<Cookie>,
}

/// `sticky cookie NAME [KEY]` (extension)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookie {
    /// Its name, a token of at most 63 characters.
    pub name: String,
    /// Key of its values; without, one that the daemon keeps.
    pub key: Option<HashKey>,
}

/// Address family translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Translate {
    /// `inet`: the last 4 bytes of an IPv6 target.
    Inet,
    /// `inet6 PREFIX`: an IPv4 target in the last 4 bytes of the prefix.
    Inet6(Ipv6Addr),
}

/// Version of the PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}
