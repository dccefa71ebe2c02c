//! What the checker of hosts is told.
//! Owns these types.
//! Must never carry a host's state.

use crate::hce::report::Report;
use crate::hce::table::Table;
use crate::hce::target::Target;
use actix::{Addr, Message};
use conf::model::{HostId, TableId};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What to check from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Configure {
    /// The hosts.
    pub targets: BTreeMap<HostId, Target>,
    /// Actors of their tables.
    pub tables: BTreeMap<TableId, Addr<Table>>,
    /// Period of rounds: the global interval.
    pub round: Duration,
}

/// Check all hosts now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Poll;

/// Hosts were enabled or disabled.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Switch {
    /// Which, with whether they are off.
    pub hosts: Vec<(HostId, bool)>,
}

/// A script ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ScriptEnded {
    /// Number of the request.
    pub request: u64,
    /// Exit status.
    pub status: Option<i32>,
}

/// Use this ICMP socket.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), std::io::Error>")]
pub struct Adopt(pub OwnedFd);

/// Tell Report the figures of the moment.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Figure(pub Addr<Report>);
