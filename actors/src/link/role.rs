//! The kinds of process, and who may talk to whom.
//! Owns the roles, their titles and the table of permitted messages.
//! Must never be bypassed: the parent refuses whatever the table does not list.

use super::message::Kind;
use serde::{Deserialize, Serialize};

/// A kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Reads the configuration, binds, forks, restarts; the only one with privileges.
    Parent,
    /// Host check engine.
    Hce,
    /// Packet filter engine and control socket.
    Pfe,
    /// Relays connections; one per `prefork`.
    Relay,
    /// Private keys.
    Ca,
    /// Metrics and status page.
    Status,
}

impl Role {
    /// Title in `ps`, that of the original.
    pub fn title(self) -> &'static str {
        match self {
            Role::Parent => "parent",
            Role::Hce => "host check engine",
            Role::Pfe => "pf update engine",
            Role::Relay => "socket relay engine",
            Role::Ca => "ca",
            Role::Status => "status engine",
        }
    }

    /// Short name in log lines such as `hce exiting, pid N`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Parent => "parent",
            Role::Hce => "hce",
            Role::Pfe => "pfe",
            Role::Relay => "relay",
            Role::Ca => "ca",
            Role::Status => "status",
        }
    }
}

/// One process: its role and, for relay and ca, its number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Role.
    pub role: Role,
    /// Instance.
    pub instance: u32,
}

/// Receivers of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum To {
    /// All processes of a role.
    All(Role),
    /// One process.
    One(Peer),
}

impl To {
    /// Role of the receivers.
    pub fn role(self) -> Role {
        match self {
            To::All(role) => role,
            To::One(peer) => peer.role,
        }
    }
}

/// Whether `from` may send a message of this kind to `to`. The one table of who may talk to whom.
pub fn permitted(from: Role, to: Role, kind: Kind) -> bool {
    use Kind as K;
    use Role::{Ca, Hce, Parent, Pfe, Relay, Status};
    match (from, to) {
        (Parent, _) => matches!(
            kind,
            K::Boot
                | K::Descriptors
                | K::Stage
                | K::Commit
                | K::Abort
                | K::Shutdown
                | K::Retire
                | K::Freed
                | K::Verbose
                | K::Restarted
                | K::ScriptResult
                | K::Verdict
                | K::NatResult
                | K::TicketKeys
                | K::Snapshot
        ),
        (_, Parent) if matches!(kind, K::Ready | K::Staged | K::Log) => true,
        (Relay, Parent) => kind == K::ReopenLogs,
        (Hce, Parent) => kind == K::RunScript,
        (Hce, Pfe) => matches!(kind, K::HostStatus | K::RoundEnd),
        (Hce, Relay) => kind == K::HostStatus,
        (Relay, Relay) => kind == K::Freed,
        (Pfe, Parent) => matches!(
            kind,
            K::Demote | K::Route | K::Reload | K::Stop | K::SetVerbose
        ),
        (Pfe, Hce) => matches!(kind, K::Admin | K::Poll),
        (Pfe, Relay) => matches!(
            kind,
            K::Admin | K::Forwarding | K::SessionList | K::KillSession | K::NatResult
        ),
        (Relay, Pfe) => matches!(
            kind,
            K::RelayStatistics | K::Sessions | K::ForwardingStatistics | K::NatLookup
        ),
        (Relay, Ca) => matches!(kind, K::Sign | K::Decrypt),
        (Ca, Relay) => matches!(kind, K::Signed | K::Decrypted),
        (Hce | Pfe | Relay | Ca, Status) => matches!(kind, K::Snapshot | K::Event),
        _ => false,
    }
}
