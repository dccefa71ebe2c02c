//! Settings that stand outside every block.
//! Owns their types; their defaults are in [`crate::limits`].
//! Must never hold anything that is not in the configuration file.

use crate::limits;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Global settings (`relayd.conf(5)`, GLOBAL CONFIGURATION).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Globals {
    /// Time between two checks of a host; whole seconds.
    pub interval: Duration,
    /// Default time limit of one check; whole milliseconds.
    pub timeout: Duration,
    /// Number of relay processes, 1 to 64.
    pub prefork: u32,
    /// What is logged beyond errors.
    pub log: LogFlags,
    /// Control socket, if the file names one.
    pub socket: Option<PathBuf>,
    /// AgentX master to register with, if any.
    pub agentx: Option<AgentX>,
    /// Interface group that is demoted while the daemon does not run (extension `legacy demote`; global `demote` up
    /// to 5.0).
    pub demote: Option<String>,
    /// The file asked for SNMP traps (extension `legacy trap`; `send trap`, `snmp trap` up to 6.7); none are sent.
    pub trap: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Globals {
            interval: limits::INTERVAL_DEFAULT,
            timeout: limits::TIMEOUT_DEFAULT,
            prefork: limits::PREFORK_DEFAULT,
            log: LogFlags::default(),
            socket: None,
            agentx: None,
            demote: None,
            trap: false,
        }
    }
}

/// The `log …` statements; several accumulate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFlags {
    /// `log state changes`
    pub state_changes: bool,
    /// `log host checks`
    pub host_checks: bool,
    /// `log connection`
    pub connection: bool,
    /// `log connection errors`
    pub connection_errors: bool,
}

/// `agentx [context "C"] [path "P"]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentX {
    /// SNMP context, shorter than 32 characters.
    pub context: Option<String>,
    /// Socket of the master agent.
    pub path: PathBuf,
}
