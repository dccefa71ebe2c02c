//! A TCP-based check made ready to run many times.
//! Owns the bytes to send and the judge of the answer.
//! Must never hold anything of one connection: see [`super::Run`].

use conf::model::{Check, Digest, HttpRequest};

/// Name sent in `User-Agent`, as the original does since 2026-03.
const USER_AGENT: &str = "OpenBSD relayd";

/// What to send and what to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) send: Vec<u8>,
    pub(super) judge: Judge,
    tls: bool,
}

/// How an answer is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judge {
    /// Being connected is enough.
    Connected,
    HttpCode(u32),
    HttpDigest(Digest),
    Glob(Vec<u8>),
    Prefix(Vec<u8>),
}

impl Plan {
    /// The plan of a check; `None` for those that open no connection.
    pub fn new(check: &Check) -> Option<Plan> {
        let (send, judge) = match check {
            Check::None | Check::Icmp | Check::Script { .. } => return None,
            Check::Tcp { .. } => (Vec::new(), Judge::Connected),
            Check::HttpCode { request, code } => {
                (request_text("HEAD", request), Judge::HttpCode(*code))
            }
            Check::HttpDigest { request, digest } => (
                request_text("GET", request),
                Judge::HttpDigest(digest.clone()),
            ),
            Check::SendExpect { send, expect, .. } => (
                send.clone().unwrap_or_default().into_bytes(),
                Judge::Glob(expect.clone().into_bytes()),
            ),
            Check::Binary { send, expect, .. } => (
                send.clone().unwrap_or_default(),
                Judge::Prefix(expect.clone()),
            ),
        };
        Some(Plan {
            send,
            judge,
            tls: check.tls(),
        })
    }

    /// Whether the connection speaks TLS.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Whether an established TCP connection is all that is wanted: then nothing is ever sent.
    pub fn connect_only(&self) -> bool {
        !self.tls && self.judge == Judge::Connected
    }
}

/// Head of an HTTP check: the Host header makes it HTTP/1.1.
fn request_text(method: &str, request: &HttpRequest) -> Vec<u8> {
    let path = &request.path;
    match &request.host {
        None => format!("{method} {path} HTTP/1.0\r\nUser-Agent: {USER_AGENT}\r\n\r\n"),
        Some(host) => format!(
            "{method} {path} HTTP/1.1\r\nUser-Agent: {USER_AGENT}\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ),
    }
    .into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn request_text_is_the_originals() {
        let request = |host: Option<&str>| HttpRequest {
            path: "/index.html".to_owned(),
            host: host.map(str::to_owned),
            tls: false,
        };
        let check = Check::HttpCode {
            request: request(None),
            code: 200,
        };
        assert_eq!(
            Plan::new(&check).unwrap().send,
            b"HEAD /index.html HTTP/1.0\r\nUser-Agent: OpenBSD relayd\r\n\r\n"
        );
        let check = Check::HttpDigest {
            request: request(Some("www.example.com")),
            digest: Digest::Md5([0; 16]),
        };
        assert_eq!(
            Plan::new(&check).unwrap().send,
            b"GET /index.html HTTP/1.1\r\nUser-Agent: OpenBSD relayd\r\nHost: www.example.com\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn only_a_plain_tcp_check_needs_nothing_but_the_connection() {
        assert!(
            Plan::new(&Check::Tcp { tls: false })
                .unwrap()
                .connect_only()
        );
        assert!(!Plan::new(&Check::Tcp { tls: true }).unwrap().connect_only());
        assert_eq!(Plan::new(&Check::Icmp), None);
    }
}
