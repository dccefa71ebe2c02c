//! The objects and events of `relayctl -j`.
//! Owns the names of their fields.
//! Must never drop or rename a field: programs read them.

use super::Named;
use serde::{Deserialize, Serialize};

/// Session statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Since start.
    pub total: u64,
    /// In the last full minute (or `interval` seconds).
    pub last: u32,
    /// In the current hour.
    pub last_hour: u32,
    /// In the current day.
    pub last_day: u32,
    /// Mean per interval.
    pub average: u32,
    /// Mean per hour.
    pub average_hour: u32,
    /// Mean per day.
    pub average_day: u32,
    /// Seconds of `last` and `average`.
    pub interval: u64,
}

/// What went to one host of a redirection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Id of the host.
    pub host: u32,
    /// Sessions.
    pub sessions: u64,
    /// Packets and bytes, where they are counted.
    pub traffic: Option<Traffic>,
}

/// Packets and bytes of connections: with IP headers, but payload under the packet filter userland.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

impl Traffic {
    /// Each number together with that of `other`.
    pub(crate) fn with(self, other: Traffic, both: fn(u64, u64) -> u64) -> Traffic {
        Traffic {
            packets_in: both(self.packets_in, other.packets_in),
            bytes_in: both(self.bytes_in, other.bytes_in),
            packets_out: both(self.packets_out, other.packets_out),
            bytes_out: both(self.bytes_out, other.bytes_out),
        }
    }
}

/// An object as `relayctl -j` shows it. Other objects are referred to by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Object {
    /// A redirection.
    Redirect {
        /// Id.
        id: u32,
        /// Name.
        name: String,
        /// The words of `show summary`.
        status: String,
        /// Switched off.
        disabled: bool,
        /// Virtual addresses.
        listen: Vec<String>,
        /// Main table.
        table: u32,
        /// Backup table.
        backup: Option<u32>,
        /// Table in use.
        active_table: Option<u32>,
        /// How hosts are chosen.
        mode: String,
        /// Sessions.
        statistics: Statistics,
        /// What went to each host.
        #[serde(default)]
        shares: Vec<Share>,
    },
    /// A table instance.
    Table {
        /// Id.
        id: u32,
        /// `name:port`
        name: String,
        /// The words of `show summary`.
        status: String,
        /// Switched off.
        disabled: bool,
        /// Kind of check.
        check: String,
        /// Hosts that are up.
        up: u32,
        /// Number of its hosts.
        hosts: u32,
        /// Sessions that wait because all hosts are full.
        #[serde(default)]
        waiting: u32,
        /// Most that may.
        #[serde(default)]
        queue: Option<u32>,
    },
    /// A host.
    Host {
        /// Id.
        id: u32,
        /// Name as configured.
        name: String,
        /// Table instance.
        table: u32,
        /// Host whose state this one copies.
        parent: Option<u32>,
        /// Address.
        address: String,
        /// The words of `show summary`.
        status: String,
        /// Switched off.
        disabled: bool,
        /// Gets no new connections.
        draining: bool,
        /// Share of new connections.
        weight: u16,
        /// Open connections of relays.
        #[serde(default)]
        connections: u32,
        /// Most connections at once.
        #[serde(default)]
        max_connections: Option<u32>,
        /// Percent; `null` when never checked.
        availability: Option<f64>,
        /// Checks counted.
        checks: u64,
        /// Checks that found it up.
        ups: u64,
        /// Failures in a row that `retry` covers.
        retries: u32,
        /// Last result.
        reason: String,
        /// HTTP status of the last check.
        http_code: Option<u16>,
        /// Duration of the last check.
        latency_ms: u32,
    },
    /// A relay.
    Relay {
        /// Id.
        id: u32,
        /// Name.
        name: String,
        /// The words of `show summary`.
        status: String,
        /// Switched off.
        disabled: bool,
        /// Listener.
        listen: String,
        /// Name of its protocol.
        protocol: String,
        /// Its tables, in order of preference.
        tables: Vec<u32>,
        /// Sessions.
        statistics: Statistics,
    },
    /// A router.
    Router {
        /// Id.
        id: u32,
        /// Name.
        name: String,
        /// The words of `show summary`.
        status: String,
        /// Switched off.
        disabled: bool,
        /// Gateways.
        table: u32,
        /// Destinations.
        routes: Vec<String>,
        /// Routing table.
        rtable: u32,
        /// Route label.
        label: Option<String>,
    },
    /// A session.
    Session {
        /// Number in its process.
        id: u32,
        /// Relay process.
        pid: u32,
        /// Relay.
        relay: u32,
        /// Client.
        client: String,
        /// Server; `null` until connected.
        server: Option<String>,
        /// Seconds since it began.
        age: u64,
        /// Seconds since the last byte.
        idle: u64,
        /// Tag id; 0 = none.
        tag: u16,
        /// It is ending.
        done: bool,
        /// Name over all processes and restarts, as in the access log.
        #[serde(default)]
        session: String,
        /// Name of its last request, in relays that speak HTTP.
        #[serde(default)]
        request: Option<String>,
    },
}

/// What `relayctl -j monitor` prints, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A host was checked.
    HostStatus {
        /// Which.
        id: u32,
        /// Its name.
        name: String,
        /// Its table.
        table: String,
        /// `up`, `down`, `unknown`.
        state: String,
        /// Result.
        reason: String,
        /// Duration of the check.
        latency_ms: u32,
    },
    /// A check round ended.
    Sync,
    /// Somebody switched something.
    Switched {
        /// `redirect`, `table`, `host`, `relay`.
        class: String,
        /// Which.
        object: Named,
        /// `enable`, `disable`, `drain`, `undrain`.
        action: String,
    },
    /// The packet filter's table of a redirection changed.
    TableChanged {
        /// Redirection.
        id: u32,
        /// Its name.
        name: String,
        /// Hosts added.
        added: u32,
        /// Hosts deleted.
        deleted: u32,
        /// Hosts changed.
        changed: u32,
        /// States killed.
        killed: u32,
    },
    /// Rules of a redirection were installed or removed.
    Ruleset {
        /// Redirection.
        id: u32,
        /// Its name.
        name: String,
        /// Installed.
        installed: bool,
    },
    /// A new configuration runs.
    Reload {
        /// Its number.
        generation: u64,
    },
}
