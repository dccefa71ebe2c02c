//! Everything the roles say to each other.
//! Owns the one message type of all links; [`super::role::permitted`] says who may send which.
//! Must never carry payload of a session: bytes stay in the relay process.

use backends::filter::{Forwarded, Service};
use backends::sys::privileges::{Confinement, Keep};
use conf::Config;
use conf::model::{AccessTarget, HostId, NetRouteId, RedirectId, RelayId, RouterId, TableId};
use protocols::host::HostStatus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::role::Peer;

/// Version of this file's types; both ends of a link are the same executable, so a difference means a botched upgrade.
pub const VERSION: u16 = 1;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$fdoc:meta])* $field:ident : $ty:ty),* $(,)? })?,)*) => {
        /// A message between roles.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub enum Message {
            $($(#[$doc])* $name $({ $($(#[$fdoc])* $field: $ty),* })?,)*
        }

        /// The name of a message without its content.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum Kind { $($name,)* }

        impl Message {
            /// The message's kind.
            pub fn kind(&self) -> Kind {
                match self { $(Message::$name { .. } => Kind::$name,)* }
            }
        }
    };
}

messages! {
    // Parent to children: life cycle
    /// The first message: who the process is, and the daemon's options. The transport consumes it.
    Boot {
        /// Who the process is.
        me: Peer,
        /// Options.
        options: Arc<crate::options::Options>,
        /// User, group and root directory to change to; `None` when not started as root.
        confinement: Option<Confinement>,
        /// Privilege that survives the change of user.
        keep: Keep,
        /// Log to standard error (`-d`).
        foreground: bool,
        /// Debug level.
        verbose: u8,
    },
    /// Descriptors that the next `Stage` refers to; they travel beside this message in the same order.
    /// A slot that is not mentioned keeps the descriptor that the process has; one of an object that is gone is closed.
    Descriptors {
        /// What each descriptor is.
        slots: Vec<Slot>,
    },
    /// Prepare this configuration: open, load, render, but do not use it yet.
    Stage {
        /// Number of this configuration, counted from 1.
        generation: u64,
        /// The configuration.
        config: Arc<Config>,
        /// What is already known, for a restarted child and for unchanged objects after a reload.
        state: Arc<RunState>,
    },
    /// Use the staged configuration.
    Commit {
        /// Which.
        generation: u64,
    },
    /// Forget the staged configuration.
    Abort {
        /// Which.
        generation: u64,
    },
    /// End cleanly.
    Shutdown,
    /// Take no more connections, and end when the last session has: the configuration has fewer processes.
    Retire,
    /// Debug level: 0 brief, 1 verbose, 2 more.
    Verbose {
        /// Level.
        level: u8,
    },
    /// A process was restarted and knows nothing: send it what it needs of yours.
    Restarted {
        /// Who.
        peer: Peer,
    },
    /// End of a check script.
    ScriptResult {
        /// Number of the request.
        request: u64,
        /// Exit status; `None` = could not run or was killed.
        status: Option<i32>,
    },
    /// How a reload ended.
    Verdict {
        /// Control client that asked, if any.
        client: Option<u64>,
        /// Generation that runs now.
        generation: u64,
        /// The messages of a refused reload.
        errors: Vec<String>,
    },
    /// Keys for TLS session tickets, newest first.
    TicketKeys {
        /// Keys.
        keys: Vec<Vec<u8>>,
    },

    // Children to parent
    /// The process runs.
    Ready {
        /// Its version of this file.
        version: u16,
        /// Process id.
        pid: u32,
    },
    /// Answer to `Stage`.
    Staged {
        /// Which.
        generation: u64,
        /// Why it is impossible, if it is.
        error: Option<String>,
    },
    /// A log line of a process that cannot reach syslog itself.
    Log {
        /// syslog severity.
        severity: u8,
        /// Text.
        line: String,
    },
    /// What an access log is written to is gone: open it again.
    ReopenLogs,
    /// Run a check script.
    RunScript {
        /// Number of the request, for the answer.
        request: u64,
        /// Program.
        path: PathBuf,
        /// Its one argument.
        host: String,
        /// Time limit.
        timeout: Duration,
    },
    /// Raise (positive) or lower the demotion of an interface group.
    Demote {
        /// Group.
        group: String,
        /// Difference.
        level: i32,
    },
    /// Add or remove one gateway of one route.
    Route {
        /// Router.
        router: RouterId,
        /// Route.
        route: NetRouteId,
        /// Gateways that are up now.
        gateways: Vec<HostId>,
    },
    /// `relayctl reload` and `load`.
    Reload {
        /// Control client that asked.
        client: u64,
        /// File; `None` = the daemon's own.
        file: Option<PathBuf>,
    },
    /// `relayctl stop`
    Stop,
    /// `relayctl log verbose|brief`
    SetVerbose {
        /// Level.
        level: u8,
    },

    // Check engine
    /// Results of checks.
    HostStatus {
        /// The hosts that were checked.
        hosts: Vec<HostStatus>,
    },
    /// End of a round of checks.
    RoundEnd,
    /// Check all hosts now.
    Poll,

    // Administration, from the control socket
    /// Something was enabled or disabled.
    Admin {
        /// What.
        change: Admin,
    },

    // Redirects served in user space
    /// Services that relay processes forward because no packet filter does.
    Forwarding {
        /// All of them.
        services: Vec<Service>,
    },
    /// Counters of such services since the last message.
    ForwardingStatistics {
        /// By service and host.
        forwarded: Vec<Forwarded>,
    },

    // Queues
    /// Hosts of a table may have room again: whoever waits longest may have a place.
    Freed {
        /// The table; `None` = any.
        table: Option<TableId>,
        /// Its host; `None` = any.
        host: Option<HostId>,
        /// Processes whose sessions could not use it, one bit each.
        passed: u64,
    },

    // Sessions
    /// List your sessions.
    SessionList {
        /// Number of the request.
        request: u64,
    },
    /// Some sessions; the last message of an answer says so.
    Sessions {
        /// Number of the request.
        request: u64,
        /// Sessions.
        sessions: Vec<SessionInfo>,
        /// No more follow.
        last: bool,
    },
    /// End a session.
    KillSession {
        /// Session number in that process.
        session: u64,
    },
    /// New sessions per relay since the last message.
    RelayStatistics {
        /// Relay and number of sessions.
        sessions: Vec<(RelayId, u64)>,
    },
    /// Ask for the destination before translation.
    NatLookup {
        /// Number of the request.
        request: u64,
        /// Client.
        client: SocketAddr,
        /// Local address of the accepted socket.
        local: SocketAddr,
    },
    /// Answer.
    NatResult {
        /// Number of the request.
        request: u64,
        /// Destination.
        destination: Option<SocketAddr>,
    },

    // Keys
    /// Sign with a private key.
    Sign {
        /// Number of the request.
        request: u64,
        /// Key.
        key: u32,
        /// Signature scheme (RFC 8446 §4.2.3).
        scheme: u16,
        /// What is signed.
        data: Vec<u8>,
    },
    /// Answer.
    Signed {
        /// Number of the request.
        request: u64,
        /// Signature.
        signature: Option<Vec<u8>>,
    },
    /// Decrypt with a private key.
    Decrypt {
        /// Number of the request.
        request: u64,
        /// Key.
        key: u32,
        /// Cipher text.
        data: Vec<u8>,
    },
    /// Answer.
    Decrypted {
        /// Number of the request.
        request: u64,
        /// Plain text.
        data: Option<Vec<u8>>,
    },

    // Watching
    /// Counters of a process, for the metrics listener.
    Snapshot {
        /// Values.
        samples: Vec<Sample>,
    },
    /// Something happened.
    Event {
        /// What, as the log line.
        line: String,
    },
}

/// What a descriptor handed to a child is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// Listener (TCP) or socket (UDP) of a relay.
    Relay(RelayId),
    /// Listener or socket of a redirect served in user space: number of the virtual address and port.
    Redirect(RedirectId, u32, u16),
    /// What access logs are written to. Used at once: it is the same place, opened again.
    Access(AccessTarget),
    /// Control socket.
    Control,
    /// What the packet filter engine changes rules with.
    Filter,
    /// Metrics listener.
    Metrics,
    /// Raw or datagram ICMP socket.
    Icmp4,
    /// The same for ICMPv6.
    Icmp6,
    /// Counters that relay processes share.
    Board,
}

/// What is known besides the configuration: kept over reloads and restarts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunState {
    /// Last known state of hosts.
    pub hosts: Vec<HostStatus>,
    /// What was enabled or disabled by hand, in order.
    pub admin: Vec<Admin>,
    /// Services served in user space, as last published.
    pub forwarding: Vec<Service>,
    /// Levels that interface groups are demoted by.
    pub demotion: Vec<(String, i32)>,
    /// Debug level.
    pub verbose: u8,
    /// Numbers that the system gives to tags of redirects, by name.
    pub tags: BTreeMap<String, u8>,
    /// Random bytes of the daemon, made once at its start: keys that the file does not give are derived from them, so
    /// that all processes, before and after a restart, choose alike ([`protocols::balance::derive_key`]).
    pub seed: [u8; 16],
    /// The same for the values of cookies, kept in the state directory so that they mean the same after a restart.
    pub cookie_seed: [u8; 16],
}

/// An administrative change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admin {
    /// `host disable|enable`
    Host {
        /// Which.
        id: HostId,
        /// Off.
        disabled: bool,
    },
    /// `table disable|enable`
    Table {
        /// Which.
        id: TableId,
        /// Off.
        disabled: bool,
    },
    /// `redirect disable|enable`
    Redirect {
        /// Which.
        id: RedirectId,
        /// Off.
        disabled: bool,
    },
    /// `relay disable|enable` (extension)
    Relay {
        /// Which.
        id: RelayId,
        /// Off.
        disabled: bool,
    },
    /// `host drain|undrain` (extension): no new connections, established ones go on; checks continue.
    Drain {
        /// Which.
        id: HostId,
        /// On.
        draining: bool,
    },
}

/// A running session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Number in its process, from 1.
    pub id: u64,
    /// Relay.
    pub relay: RelayId,
    /// Client.
    pub client: SocketAddr,
    /// Server, once connected.
    pub server: Option<SocketAddr>,
    /// Time since it began.
    pub age: Duration,
    /// Time since the last byte.
    pub idle: Duration,
    /// Tag id; 0 = none.
    pub tag: u16,
    /// It is ending.
    pub done: bool,
    /// Process id of the relay process.
    pub pid: u32,
    /// Random number of the run of the process, for [`protocols::log::id`].
    pub process: u64,
    /// Requests so far, in relays that speak HTTP.
    pub requests: u32,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Name by the Prometheus conventions, with the prefix `relayd_`.
    pub name: String,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Counters carry their total.
    pub counter: bool,
    /// Value.
    pub value: f64,
}
