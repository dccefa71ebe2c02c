//! What relays need of the packet filter: answers to clients' addresses come back, diverted connections come in.
//! Owns the choice of the relays that need anything at all.
//! Must never know how a packet filter does it.

use conf::Config;
use conf::model::{ProtocolKind, Target};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One relay whose packets the packet filter must lead to this system although they are addressed elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relayed {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where packets to others come in, if not anywhere.
    pub interface: Option<String>,
    /// Datagrams rather than connections.
    pub datagrams: bool,
    /// `transparent`: servers answer to the clients' addresses.
    pub transparent: bool,
    /// `forward to destination`: clients that meant somebody else are served.
    pub divert: bool,
}

impl Relayed {
    /// The relays of a configuration that need the packet filter, in the order of the file.
    pub fn of(config: &Config) -> Vec<Relayed> {
        let relays = config.relays.iter().map(|relay| {
            let kind = config.protocol(relay.protocol).map(|p| p.kind);
            Relayed {
                name: relay.name.clone(),
                listen: relay.listen.address.with_port(relay.listen.port),
                interface: relay.listen.interface.clone(),
                datagrams: kind.is_some_and(ProtocolKind::datagrams),
                // Sockets towards name servers are shared by all clients.
                transparent: relay.transparent && kind != Some(ProtocolKind::Dns),
                divert: matches!(relay.target, Target::Destination(_)),
            }
        });
        relays.filter(|r| r.transparent || r.divert).collect()
    }
}
