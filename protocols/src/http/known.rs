//! Names that mean something to the engine: header fields and methods.
//! Owns what each one implies.
//! Must never be a list of what is allowed: unknown names are legal.

/// Fields the engine itself looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Any other field.
    Other,
    /// Host
    Host,
    /// Cookie
    Cookie,
    /// Set-Cookie
    SetCookie,
    /// Expect
    Expect,
    /// Upgrade
    Upgrade,
    /// Connection
    Connection,
    /// Content-Length
    ContentLength,
    /// Transfer-Encoding
    TransferEncoding,
}

impl Known {
    /// Which field a name is, whatever its case.
    pub fn of(name: &[u8]) -> Known {
        let (text, known): (&[u8], Known) = match name.len() {
            4 => (b"host", Known::Host),
            6 if name.first().is_some_and(|c| c | 32 == b'c') => (b"cookie", Known::Cookie),
            6 => (b"expect", Known::Expect),
            7 => (b"upgrade", Known::Upgrade),
            10 if name.first().is_some_and(|c| c | 32 == b's') => (b"set-cookie", Known::SetCookie),
            10 => (b"connection", Known::Connection),
            14 => (b"content-length", Known::ContentLength),
            17 => (b"transfer-encoding", Known::TransferEncoding),
            _ => return Known::Other,
        };
        if name.eq_ignore_ascii_case(text) {
            known
        } else {
            Known::Other
        }
    }

    /// Fields that frame the message: rules may look at them, never change them.
    pub fn frames(self) -> bool {
        matches!(self, Known::ContentLength | Known::TransferEncoding)
    }
}

/// Request methods whose handling differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// COPY, MOVE: like GET, a body is dropped.
    Bodiless,
    /// PUT, DELETE, OPTIONS, TRACE, PROPFIND, …: may be sent again.
    Idempotent,
    /// TRACE
    Trace,
    /// CONNECT
    Connect,
    /// POST and everything unknown.
    Other,
}

impl Method {
    pub(super) fn of(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"COPY" | b"MOVE" => Method::Bodiless,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            b"PUT" | b"DELETE" | b"OPTIONS" | b"PROPFIND" | b"REPORT" | b"SEARCH" => {
                Method::Idempotent
            }
            _ => Method::Other,
        }
    }

    /// A body is read and dropped together with its length (unless `forward_body`).
    pub fn drops_body(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Bodiless)
    }

    /// May be sent again when a kept connection turns out to be closed (RFC 9110 §9.2.2).
    pub fn idempotent(self) -> bool {
        matches!(
            self,
            Method::Get | Method::Head | Method::Idempotent | Method::Trace
        )
    }
}
