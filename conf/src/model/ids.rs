//! Numbers that `relayctl` prints and accepts.
//! Owns the newtypes of every object's id; each class counts from 1 in file order.
//! Must never mix two classes: a `HostId` is not a `TableId`.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// Id of a redirection, from 1.
    RedirectId,
    /// Id of a relay (one per listener), from 1.
    RelayId,
    /// Id of a router, from 1.
    RouterId,
    /// Id of a route of a router, from 1 over all routers.
    NetRouteId,
    /// Id of a table instance (`name:port`), from 1.
    TableId,
    /// Id of a host, from 1 over all table instances.
    HostId,
    /// Id of a protocol block; 0 is the built-in protocol `default`.
    ProtocolId,
}
