//! Names of sessions and requests that the logs, relayctl and header rules share.
//! Owns their form: process, session and request, joined by hyphens.
//! Must never be guessed from: they are unique, not secret.

use std::fmt;

/// A session, over all relay processes and their restarts: `PROCESS-NUMBER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// Random number of the run of the process; its lower 48 bits count.
    pub process: u64,
    /// Number of the session in its process, from 1.
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:012x}-{}",
            self.process & 0xffff_ffff_ffff,
            self.number
        )
    }
}

/// A request of a session: `PROCESS-NUMBER-REQUEST`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Its session.
    pub session: SessionId,
    /// Number of the request in its session, from 1.
    pub number: u32,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.session, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_after_its_session() {
        let session = SessionId {
            process: 0x7_0000_0000_00ab,
            number: 42,
        };
        assert_eq!(session.to_string(), "0000000000ab-42");
        let request = RequestId { session, number: 3 };
        assert_eq!(request.to_string(), "0000000000ab-42-3");
    }
}
