//! What is known about a host after checks.
//! Owns the states, the check results and their texts (relayctl reference §8).
//! Must never decide which host serves a connection: that is [`crate::balance`].

use conf::model::HostId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// State of a host; the number is the one on the control socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostState {
    /// Down: -1.
    Down,
    /// Not checked yet: 0.
    #[default]
    Unknown,
    /// Up: 1.
    Up,
}

impl HostState {
    /// Number on the control socket.
    pub fn number(self) -> i32 {
        match self {
            HostState::Down => -1,
            HostState::Unknown => 0,
            HostState::Up => 1,
        }
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostState::Down => "down",
            HostState::Unknown => "unknown",
            HostState::Up => "up",
        })
    }
}

macro_rules! reasons {
    ($($name:ident = $number:literal $text:literal,)*) => {
        /// Result of a check; numbers and texts are those of the original.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(u16)]
        pub enum Reason {
            #[default]
            $(#[doc = $text] $name = $number,)*
        }

        impl Reason {
            /// All reasons in the order of their numbers.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The text in logs and in `relayctl show hosts`.
            pub fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }
        }
    };
}

reasons! {
    None = 0 "none",
    Aborted = 1 "aborted",
    IntervalTimeout = 2 "interval timeout",
    IcmpOk = 3 "icmp ok",
    IcmpReadTimeout = 4 "icmp read timeout",
    IcmpWriteTimeout = 5 "icmp write timeout",
    TcpSocketError = 6 "tcp socket error",
    TcpSocketLimit = 7 "tcp socket limit",
    TcpSocketOption = 8 "tcp socket option",
    TcpConnectFailed = 9 "tcp connect failed",
    TcpConnectTimeout = 10 "tcp connect timeout",
    TcpConnectOk = 11 "tcp connect ok",
    TcpWriteTimeout = 12 "tcp write timeout",
    TcpWriteFailed = 13 "tcp write failed",
    TcpReadTimeout = 14 "tcp read timeout",
    TcpReadFailed = 15 "tcp read failed",
    ScriptOk = 16 "script ok",
    ScriptFailed = 17 "script failed",
    TlsConnectError = 18 "tls connect error",
    TlsConnectFailed = 19 "tls connect failed",
    TlsConnectOk = 20 "tls connect ok",
    TlsConnectTimeout = 21 "tls connect timeout",
    TlsReadTimeout = 22 "tls read timeout",
    TlsWriteTimeout = 23 "tls write timeout",
    TlsReadError = 24 "tls read error",
    TlsWriteError = 25 "tls write error",
    SendExpectFailed = 26 "send/expect failed",
    SendExpectOk = 27 "send/expect ok",
    HttpCodeMalformed = 28 "http code malformed",
    HttpCodeMismatch = 29 "http code mismatch",
    HttpCodeOk = 30 "http code ok",
    HttpDigestMalformed = 31 "http digest malformed",
    HttpDigestMismatch = 32 "http digest mismatch",
    HttpDigestOk = 33 "http digest ok",
}

impl Reason {
    /// Number on the control socket and in the MIB.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The reason of a number.
    pub fn from_number(number: u16) -> Option<Reason> {
        Reason::ALL.get(usize::from(number)).copied()
    }
}

/// What the check engine knows of one host; sent to everyone who must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// The host.
    pub id: HostId,
    /// State after the last check.
    pub state: HostState,
    /// Checks counted (not while the state was unknown before the first result).
    pub checks: u64,
    /// Checks that found the host up.
    pub ups: u64,
    /// Failures in a row that `retry` covers.
    pub retries: u32,
    /// Result of the last check.
    pub reason: Reason,
    /// HTTP status of the last check; 0 = none.
    pub http_code: u16,
    /// Duration of the last check in milliseconds.
    pub latency_ms: u32,
}

impl HostStatus {
    /// A host that was never checked.
    pub fn unknown(id: HostId) -> Self {
        HostStatus {
            id,
            state: HostState::Unknown,
            checks: 0,
            ups: 0,
            retries: 0,
            reason: Reason::None,
            http_code: 0,
            latency_ms: 0,
        }
    }

    /// Availability in percent; 0 before the first check.
    pub fn availability(&self) -> f64 {
        if self.checks == 0 {
            return 0.0;
        }
        self.ups as f64 / self.checks as f64 * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_as_in_the_original() {
        assert_eq!(Reason::ALL.len(), 34);
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(usize::from(reason.number()), number);
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
        }
        assert_eq!(Reason::from_number(34), None);
        assert_eq!(Reason::HttpDigestOk.text(), "http digest ok");
    }
}
