//! The lines of access logs: what is said of a request or a session, and in which form.
//! Owns the two forms, the fields of journald, and what of a request may be written at all.
//! Must never let bytes of a client end a line, a quoted text or a JSON string.

mod combined;
mod journal;
mod json;
mod text;

pub use text::{shown_text, shown_url};

use super::id::{RequestId, SessionId};
use conf::limits;
use conf::model::AccessForm;
use std::net::SocketAddr;
use std::time::Duration;

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Session.
    pub session: SessionId,
    /// When it began, since 1970.
    pub began: Duration,
    /// Relay.
    pub relay: &'a str,
    /// Client.
    pub client: SocketAddr,
    /// Address of the server, once chosen.
    pub server: Option<SocketAddr>,
    /// Table and name of the host, if it is one.
    pub host: Option<(&'a str, &'a str)>,
    /// The request, in relays that speak HTTP.
    pub http: Option<Http<'a>>,
    /// Bytes from the client: of a request its head and body.
    pub bytes_in: u64,
    /// Bytes from the server: of a response its head and body.
    pub bytes_out: u64,
    /// How long things took.
    pub times: Times,
    /// Tag set by rules.
    pub tag: Option<&'a str>,
    /// Label set by rules.
    pub label: Option<&'a str>,
    /// How it ended; `done` = in order.
    pub reason: &'a str,
}

/// A request and its response. Texts are as [`shown_text`] and [`shown_url`] leave them: free of what cannot be shown.
#[derive(Clone, Copy, Debug)]
pub struct Http<'a> {
    /// Number in its session, from 1.
    pub request: u32,
    /// Method; empty if the request could not be read.
    pub method: &'a str,
    /// Target.
    pub target: &'a str,
    /// `HTTP/1.1`
    pub version: &'a str,
    /// Host field.
    pub host: &'a str,
    /// Referer field.
    pub referer: &'a str,
    /// User-Agent field.
    pub agent: &'a str,
    /// Further fields that the configuration names.
    pub headers: &'a [(String, String)],
    /// Status of the answer; 0 = none.
    pub status: u16,
    /// Bytes of the response's body as they came.
    pub body: u64,
}

/// Times since the beginning of the request or session; `None` = it did not come to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The whole request was received.
    pub request: Option<Duration>,
    /// There was a connection to the server.
    pub connect: Option<Duration>,
    /// The first byte of the server came.
    pub first: Option<Duration>,
    /// All was over.
    pub total: Duration,
}

impl Line<'_> {
    fn request_id(&self) -> Option<RequestId> {
        self.http.map(|http| RequestId {
            session: self.session,
            number: http.request,
        })
    }

    /// Writes the line without a line end; it is never longer than [`limits::ACCESS_LINE_MAX`].
    pub fn write(&self, form: AccessForm, out: &mut Vec<u8>) {
        match form {
            AccessForm::Combined => combined::write(self, out),
            AccessForm::Json => json::write(self, out),
        }
    }

    /// Writes the same as an entry of journald's native protocol: the line as `MESSAGE`, and fields of its own.
    pub fn write_journal(&self, form: AccessForm, out: &mut Vec<u8>) {
        journal::write(self, form, out);
    }
}

/// Room that `out`, begun at `start`, leaves for further fields.
fn room(out: &[u8], start: usize) -> usize {
    // What every line ends with always fits.
    const RESERVE: usize = 512;
    (limits::ACCESS_LINE_MAX - RESERVE).saturating_sub(out.len().saturating_sub(start))
}

#[cfg(test)]
mod tests;
