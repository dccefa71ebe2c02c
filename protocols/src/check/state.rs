//! A host's state over time: retry, up, unknown, down, availability.
//! Owns the counters that relayctl and the log show.
//! Must never decide what a down host means for a table.

use super::Outcome;
use crate::host::{HostState, HostStatus};
use conf::model::HostId;

/// What is known about a host, and how many failures it may still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    status: HostStatus,
    retry: u32,
    /// The last state a check found; it outlives `enable`, and `retry` falls back to it.
    last: HostState,
}

/// What a result did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// State before.
    pub from: HostState,
    /// State after.
    pub to: HostState,
    /// The failure was forgiven; retries that were left before it.
    pub retried: Option<u32>,
}

impl Applied {
    /// Whether the state is another one.
    pub fn changed(&self) -> bool {
        self.from != self.to
    }
}

impl Record {
    /// A host that was never checked, with its configured `retry`.
    pub fn new(id: HostId, retry: u32) -> Record {
        Record {
            status: HostStatus {
                retries: retry,
                ..HostStatus::unknown(id)
            },
            retry,
            last: HostState::Unknown,
        }
    }

    /// A host that was checked before this process or configuration began.
    pub fn restored(status: HostStatus, retry: u32) -> Record {
        Record {
            status: HostStatus {
                retries: status.retries.min(retry),
                ..status
            },
            retry,
            last: status.state,
        }
    }

    /// What to tell others.
    pub fn status(&self) -> HostStatus {
        self.status
    }

    /// Takes a result in. A failure while retries are left leaves the host in its state; any other result
    /// fills them up again. Results count only once the host's state is known.
    pub fn apply(&mut self, outcome: Outcome, latency_ms: u32) -> Applied {
        let status = &mut self.status;
        let from = status.state;
        status.reason = outcome.reason;
        status.http_code = outcome.http_code;
        status.latency_ms = latency_ms;
        let Some(mut to) = outcome.state else {
            return Applied {
                from,
                to: from,
                retried: None,
            };
        };
        let mut retried = None;
        if to == HostState::Down && status.retries > 0 {
            retried = Some(status.retries);
            status.retries -= 1;
            to = match from {
                HostState::Unknown => self.last,
                known => known,
            };
        } else {
            status.retries = self.retry;
        }
        if to != HostState::Unknown {
            status.checks = status.checks.saturating_add(1);
        }
        if to == HostState::Up {
            status.ups = status.ups.saturating_add(1);
        }
        status.state = to;
        self.last = to;
        Applied { from, to, retried }
    }

    /// `host disable`: nothing is known any more and nothing is counted.
    pub fn reset(&mut self) {
        *self = Record::new(self.status.id, self.retry);
    }

    /// `host enable`, `table enable`: the state is open until the next check.
    pub fn forget_state(&mut self) {
        self.status.state = HostState::Unknown;
        self.status.retries = self.retry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Reason;
    use proptest::prelude::*;

    const UP: Outcome = Outcome {
        state: Some(HostState::Up),
        reason: Reason::TcpConnectOk,
        http_code: 0,
    };
    const DOWN: Outcome = Outcome {
        state: Some(HostState::Down),
        reason: Reason::TcpConnectFailed,
        http_code: 0,
    };

    #[test]
    fn retry_covers_failures_of_an_up_host_and_counts_them_as_up() {
        let mut record = Record::new(HostId(1), 2);
        assert_eq!(record.apply(UP, 1).to, HostState::Up);
        assert_eq!(record.apply(DOWN, 1).retried, Some(2));
        assert_eq!(record.apply(DOWN, 1).retried, Some(1));
        assert_eq!(record.status().availability(), 100.0);
        let applied = record.apply(DOWN, 1);
        assert_eq!((applied.retried, applied.to), (None, HostState::Down));
        assert_eq!((record.status().checks, record.status().ups), (4, 3));
        assert_eq!(record.status().retries, 2);
    }

    #[test]
    fn new_host_with_retry_stays_unknown_and_uncounted_first() {
        let mut record = Record::new(HostId(1), 1);
        assert_eq!(record.apply(DOWN, 1).to, HostState::Unknown);
        assert_eq!(record.status().checks, 0);
        assert_eq!(record.apply(DOWN, 1).to, HostState::Down);
        assert_eq!(record.status().checks, 1);
    }

    #[test]
    fn our_own_trouble_says_nothing_about_the_host() {
        let mut record = Record::new(HostId(1), 0);
        record.apply(UP, 1);
        let applied = record.apply(Outcome::none(Reason::TcpSocketLimit), 0);
        assert!(!applied.changed());
        assert_eq!(record.status().checks, 1);
        assert_eq!(record.status().reason, Reason::TcpSocketLimit);
    }

    #[test]
    fn disable_resets_and_enable_forgets() {
        let mut record = Record::new(HostId(1), 0);
        record.apply(UP, 1);
        let mut enabled = record;
        enabled.forget_state();
        assert_eq!(
            (enabled.status().state, enabled.status().checks),
            (HostState::Unknown, 1)
        );
        record.reset();
        assert_eq!(record, Record::new(HostId(1), 0));
    }

    #[test]
    fn after_enable_a_forgiven_failure_falls_back_to_the_state_before() {
        let mut record = Record::new(HostId(1), 1);
        record.apply(DOWN, 1);
        assert_eq!(record.apply(DOWN, 1).to, HostState::Down);
        record.forget_state();
        let applied = record.apply(DOWN, 1);
        assert_eq!(applied.retried, Some(1));
        assert_eq!(
            (applied.from, applied.to),
            (HostState::Unknown, HostState::Down)
        );
    }

    proptest! {
        #[test]
        fn a_host_goes_down_after_exactly_retry_plus_one_failures(retry in 0u32..10, before in 1usize..5) {
            let mut record = Record::new(HostId(1), retry);
            for _ in 0..before {
                record.apply(UP, 1);
            }
            for _ in 0..retry {
                prop_assert_eq!(record.apply(DOWN, 1).to, HostState::Up);
            }
            prop_assert_eq!(record.apply(DOWN, 1).to, HostState::Down);
            prop_assert!(record.status().ups <= record.status().checks);
        }
    }
}
