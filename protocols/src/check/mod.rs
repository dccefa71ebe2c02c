//! How a host proves to be up: `check icmp`, `tcp`, `http`, `send … expect`, `script`.
//! Owns what is sent, how an answer is judged, and what a result does to a host's state.
//! Must never touch a socket or a clock: the check engine brings bytes and durations.
//!
//! A TCP-based check is a [`Plan`] (shared by a table) and one [`Run`] per connection; [`icmp`] builds and reads
//! echo packets; [`script()`] judges exit statuses; [`Record`] is a host's state over time.

mod digest;
mod expect;
mod http;
pub mod icmp;
mod plan;
mod run;
mod script;
mod state;

pub use plan::Plan;
pub use run::{Phase, Progress, Run, Trouble};
pub use script::script;
pub use state::{Applied, Record};

use crate::host::{HostState, Reason};

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it says about the host; `None`: nothing, because the trouble was ours.
    pub state: Option<HostState>,
    /// Why.
    pub reason: Reason,
    /// HTTP status, 0 = none.
    pub http_code: u16,
}

impl Outcome {
    /// The host answered as wanted.
    pub fn up(reason: Reason) -> Outcome {
        Outcome {
            state: Some(HostState::Up),
            reason,
            http_code: 0,
        }
    }

    /// It did not.
    pub fn down(reason: Reason) -> Outcome {
        Outcome {
            state: Some(HostState::Down),
            reason,
            http_code: 0,
        }
    }

    /// We could not ask: the host keeps its state.
    pub fn none(reason: Reason) -> Outcome {
        Outcome {
            state: None,
            reason,
            http_code: 0,
        }
    }
}
