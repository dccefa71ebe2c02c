//! Protocols: options and filter rules that relays share.
//! Owns their description.
//! Must never evaluate a rule: that is `protocols::http`.

use super::{ProtocolId, Rule};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// `[tcp | http | dns | udp] protocol "name" { … }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Id; 0 is the built-in TCP protocol `default`.
    pub id: ProtocolId,
    /// Name, at most 63 bytes.
    pub name: String,
    /// What is spoken.
    pub kind: ProtocolKind,
    /// TCP and IP options.
    pub tcp: TcpOptions,
    /// HTTP options.
    pub http: HttpOptions,
    /// TLS options.
    pub tls: TlsOptions,
    /// `return error`: answer with a page instead of closing.
    pub return_error: bool,
    /// CSS of the error page; `None` = built-in.
    pub style: Option<String>,
    /// Filter rules in file order.
    pub rules: Vec<Rule>,
}

impl Protocol {
    /// A protocol with every option at its default.
    pub fn new(id: ProtocolId, name: &str, kind: ProtocolKind) -> Self {
        Protocol {
            id,
            name: name.to_owned(),
            kind,
            tcp: TcpOptions::default(),
            http: HttpOptions::default(),
            tls: TlsOptions::default(),
            return_error: false,
            style: None,
            rules: Vec::new(),
        }
    }
}

/// Type of a protocol block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtocolKind {
    /// Any byte stream.
    #[default]
    Tcp,
    /// HTTP/1.x.
    Http,
    /// DNS over UDP.
    Dns,
    /// Any UDP protocol (extension).
    Udp,
}

impl ProtocolKind {
    /// Whether it runs over UDP.
    pub fn datagrams(self) -> bool {
        matches!(self, ProtocolKind::Dns | ProtocolKind::Udp)
    }
}

/// `tcp { … }`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpOptions {
    /// Listen backlog, 0 to 512.
    pub backlog: u32,
    /// `[no] nodelay`; `None` = system default.
    pub nodelay: Option<bool>,
    /// `[no] sack`; `None` = system default.
    pub sack: Option<bool>,
    /// `[no] splice`
    pub splice: bool,
    /// `socket buffer N`, bytes; `None` = system default.
    pub socket_buffer: Option<u32>,
    /// `ip ttl N`
    pub ip_ttl: Option<u8>,
    /// `ip minttl N`
    pub ip_minttl: Option<u8>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions {
            backlog: limits::BACKLOG_DEFAULT,
            nodelay: None,
            sack: None,
            splice: true,
            socket_buffer: None,
            ip_ttl: None,
            ip_minttl: None,
        }
    }
}

/// `http { … }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpOptions {
    /// `headerlen N`: longest head in bytes, 0 to 131072.
    pub header_length: u32,
    /// `[no] websockets`
    pub websockets: bool,
    /// Bodies of GET, HEAD, COPY and MOVE are forwarded instead of dropped (extension).
    pub forward_body: bool,
    /// Server connections are kept open and shared between clients (extension `[no] pool`).
    pub pool: bool,
    /// Longest time for a complete request head (extension).
    pub head_timeout: Duration,
    /// Longest pause of a client within a request's or response's body (extension).
    pub body_timeout: Duration,
    /// Least bytes per second of a client within a body, 0 = any (extension).
    pub body_rate: u32,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            header_length: limits::HEADER_LENGTH_DEFAULT,
            websockets: false,
            forward_body: false,
            pool: true,
            head_timeout: limits::HEAD_TIMEOUT_DEFAULT,
            body_timeout: limits::BODY_TIMEOUT_DEFAULT,
            body_rate: 0,
        }
    }
}

/// `tls { … }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsOptions {
    /// `ca file`: verify servers against this bundle.
    pub ca_file: Option<PathBuf>,
    /// `ca cert`: inspection.
    pub ca_cert: Option<PathBuf>,
    /// `ca key PATH`
    pub ca_key: Option<PathBuf>,
    /// `ca key … password PW`
    pub ca_password: Option<String>,
    /// `ciphers STRING`
    pub ciphers: String,
    /// `client ca PATH`
    pub client_ca: Option<PathBuf>,
    /// `ecdhe CURVES`
    pub ecdhe: String,
    /// `edh params P`: none, auto, legacy.
    pub edh: String,
    /// `keypair …`, the first is the default certificate.
    pub keypairs: Vec<Keypair>,
    /// `[no] session tickets`
    pub session_tickets: bool,
    /// Version flags and preferences.
    pub flags: TlsFlags,
}

impl Default for TlsOptions {
    fn default() -> Self {
        TlsOptions {
            ca_file: None,
            ca_cert: None,
            ca_key: None,
            ca_password: None,
            ciphers: limits::TLS_CIPHERS_DEFAULT.to_owned(),
            client_ca: None,
            ecdhe: limits::TLS_ECDHE_DEFAULT.to_owned(),
            edh: limits::TLS_EDH_DEFAULT.to_owned(),
            keypairs: Vec::new(),
            session_tickets: false,
            flags: TlsFlags::default(),
        }
    }
}

/// Protocol versions and other flags of `tls { … }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFlags {
    /// Accepted, without effect.
    pub sslv3: bool,
    /// Accepted, without effect.
    pub tlsv1_0: bool,
    /// Accepted, without effect.
    pub tlsv1_1: bool,
    /// TLS 1.2.
    pub tlsv1_2: bool,
    /// TLS 1.3.
    pub tlsv1_3: bool,
    /// Prefer the server's cipher order.
    pub cipher_server_preference: bool,
    /// Accepted, without effect.
    pub client_renegotiation: bool,
}

impl Default for TlsFlags {
    fn default() -> Self {
        TlsFlags {
            sslv3: false,
            tlsv1_0: false,
            tlsv1_1: false,
            tlsv1_2: true,
            tlsv1_3: true,
            cipher_server_preference: true,
            client_renegotiation: false,
        }
    }
}

/// `keypair NAME [cert|key|ocsp PATH]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keypair {
    /// Name the files are derived from.
    pub name: String,
    /// Explicit certificate.
    pub cert: Option<PathBuf>,
    /// Explicit key.
    pub key: Option<PathBuf>,
    /// Explicit OCSP response.
    pub ocsp: Option<PathBuf>,
}
