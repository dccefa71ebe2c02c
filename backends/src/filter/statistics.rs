//! Counters of redirections: sessions, and packets and bytes where they are counted.
//! Owns their types and their sums.
//! Must never count anything.

use conf::model::{HostId, RedirectId};
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// Counters of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatistics {
    /// Redirection.
    pub id: RedirectId,
    /// Connections since the service exists.
    pub sessions: u64,
    /// Connections per host.
    pub hosts: Vec<(HostId, u64)>,
    /// Packets and bytes per host, where they are counted.
    pub traffic: Vec<(HostId, Traffic)>,
    /// Packets and bytes of all hosts the service ever had, where they are counted: other than those of `traffic` they
    /// do not go back when a host goes or gets another id.
    pub traffic_sum: Option<Traffic>,
}

/// Packets and bytes of a host's connections, as its packet filter can count them: in the kernel with IP headers, of
/// `route to` only those from clients; in user space payload, and packets of UDP only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Traffic) {
        self.packets_in = self.packets_in.saturating_add(more.packets_in);
        self.bytes_in = self.bytes_in.saturating_add(more.bytes_in);
        self.packets_out = self.packets_out.saturating_add(more.packets_out);
        self.bytes_out = self.bytes_out.saturating_add(more.bytes_out);
    }
}

impl Traffic {
    /// What several counted; `None` if there are none.
    pub fn sum(all: impl Iterator<Item = Traffic>) -> Option<Traffic> {
        all.reduce(|mut sum, more| {
            sum += more;
            sum
        })
    }

    /// What was added since `before`; a counter that went back was started anew.
    pub fn since(self, before: Traffic) -> Traffic {
        let new = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Traffic {
            packets_in: new(self.packets_in, before.packets_in),
            bytes_in: new(self.bytes_in, before.bytes_in),
            packets_out: new(self.packets_out, before.packets_out),
            bytes_out: new(self.bytes_out, before.bytes_out),
        }
    }
}

/// What a relay process forwarded for one host of a service since it told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forwarded {
    /// Redirection.
    pub id: RedirectId,
    /// Host.
    pub host: HostId,
    /// New sessions.
    pub sessions: u64,
    /// Datagrams and payload bytes, where they are counted.
    pub traffic: Traffic,
}
