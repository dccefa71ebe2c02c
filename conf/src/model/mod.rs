//! What a configuration file means, complete and validated.
//! Owns one module per noun of relayd.conf(5).
//! Must never refer to source text, sockets or run-time state.

mod access;
mod check;
mod globals;
mod ids;
mod protocol;
mod redirect;
mod relay;
mod router;
mod rule;
mod table;

pub use access::{AccessForm, AccessLog, AccessTarget};
pub use check::{Check, Digest, HttpRequest};
pub use globals::{AgentX, Globals, LogFlags};
pub use ids::{HostId, NetRouteId, ProtocolId, RedirectId, RelayId, RouterId, TableId};
pub use protocol::{
    HttpOptions, Keypair, Protocol, ProtocolKind, TcpOptions, TlsFlags, TlsOptions,
};
pub use redirect::{Forward, PfTag, Redirect, VirtualAddress};
pub use relay::{Cookie, Listen, ProxyVersion, Relay, RelayTable, SessionMax, Target, Translate};
pub use router::{NetRoute, Router};
pub use rule::{Action, Change, Direction, Family, Key, KeyKind, KeyOp, Legacy, Pattern, Rule};
pub use table::{Address, HashKey, Host, Mode, Queue, Table};

use serde::{Deserialize, Serialize};

/// A complete configuration. Objects stand in the order of their ids; `id n` is at index `n - 1`
/// (protocols: at index `n`, index 0 being the built-in protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Global settings.
    pub globals: Globals,
    /// Table instances.
    pub tables: Vec<Table>,
    /// Redirections.
    pub redirects: Vec<Redirect>,
    /// Relays, one per listener.
    pub relays: Vec<Relay>,
    /// Routers.
    pub routers: Vec<Router>,
    /// Protocols.
    pub protocols: Vec<Protocol>,
}

impl Config {
    /// The table instance `id`.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.iter().find(|t| t.id == id)
    }

    /// The host `id` and its table instance.
    pub fn host(&self, id: HostId) -> Option<(&Table, &Host)> {
        self.tables
            .iter()
            .find_map(|t| t.hosts.iter().find(|h| h.id == id).map(|h| (t, h)))
    }

    /// The redirection `id`.
    pub fn redirect(&self, id: RedirectId) -> Option<&Redirect> {
        self.redirects.iter().find(|r| r.id == id)
    }

    /// The relay `id`.
    pub fn relay(&self, id: RelayId) -> Option<&Relay> {
        self.relays.iter().find(|r| r.id == id)
    }

    /// The router `id`.
    pub fn router(&self, id: RouterId) -> Option<&Router> {
        self.routers.iter().find(|r| r.id == id)
    }

    /// The protocol `id`.
    pub fn protocol(&self, id: ProtocolId) -> Option<&Protocol> {
        self.protocols.iter().find(|p| p.id == id)
    }
}
