//! How a host is found to be up.
//! Owns the description of every check type.
//! Must never run a check: that is `protocols::check` and the host check engine.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A `check …` option of a table reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Check {
    /// No check: hosts count as usable.
    #[default]
    None,
    /// One ICMP or ICMPv6 echo request.
    Icmp,
    /// A TCP connection succeeds; with `tls` also the handshake (certificate not verified).
    Tcp {
        /// `check tls`
        tls: bool,
    },
    /// Status code of a HEAD request.
    HttpCode {
        /// The request.
        request: HttpRequest,
        /// Wanted status, greater than 0.
        code: u32,
    },
    /// Digest of the body of a GET request.
    HttpDigest {
        /// The request.
        request: HttpRequest,
        /// Wanted digest.
        digest: Digest,
    },
    /// `check send … expect …`
    SendExpect {
        /// What is sent; `None` for `send nothing`.
        send: Option<String>,
        /// Shell glob over everything received so far, at most 255 bytes; `\n`, `\r` already translated.
        expect: String,
        /// Over TLS.
        tls: bool,
    },
    /// `check binary send … expect …`
    Binary {
        /// What is sent; `None` for `send nothing`.
        send: Option<Vec<u8>>,
        /// Wanted first bytes, 1 to 127.
        expect: Vec<u8>,
        /// Over TLS.
        tls: bool,
    },
    /// A program run by the parent; exit status greater than 0 means up.
    Script {
        /// The program, shorter than 1024 bytes.
        path: PathBuf,
    },
}

/// Request of an HTTP check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Path as written.
    pub path: String,
    /// Value of the Host header; its presence selects HTTP/1.1.
    pub host: Option<String>,
    /// `check https`
    pub tls: bool,
}

/// A digest written in hexadecimal; the number of digits selects the algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Digest {
    /// 40 digits.
    Sha1([u8; 20]),
    /// 32 digits.
    Md5([u8; 16]),
}

impl Check {
    /// Whether the check speaks TLS to the host.
    pub fn tls(&self) -> bool {
        match self {
            Check::Tcp { tls } | Check::SendExpect { tls, .. } | Check::Binary { tls, .. } => *tls,
            Check::HttpCode { request, .. } | Check::HttpDigest { request, .. } => request.tls,
            Check::None | Check::Icmp | Check::Script { .. } => false,
        }
    }

    /// The name in log lines (`relayd-conf` reference §9.4).
    pub fn name(&self) -> &'static str {
        match self {
            Check::None => "none",
            Check::Icmp => "icmp",
            Check::Tcp { .. } => "tcp",
            Check::HttpCode { .. } => "http code",
            Check::HttpDigest { .. } => "http digest",
            Check::SendExpect { .. } | Check::Binary { .. } => "send expect",
            Check::Script { .. } => "script",
        }
    }
}
