//! Routers: kernel routes through gateways that are up.
//! Owns their description.
//! Must never touch a routing table.

use super::{NetRouteId, RouterId, TableId};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// `router "name" { … }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// Id, from 1.
    pub id: RouterId,
    /// Name, at most 255 bytes.
    pub name: String,
    /// `disable`
    pub disabled: bool,
    /// Gateways.
    pub table: TableId,
    /// Destinations, all of one family.
    pub routes: Vec<NetRoute>,
    /// Routing table.
    pub rtable: u32,
    /// Route label, at most 31 bytes.
    pub label: Option<String>,
}

/// `route ADDR/PLEN`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetRoute {
    /// Id, from 1 over all routers.
    pub id: NetRouteId,
    /// Destination.
    pub network: IpNetwork,
}
