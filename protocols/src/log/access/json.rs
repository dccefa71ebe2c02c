//! One JSON object a line.
//! Owns the names of its members; `null` = not known, so that each line has all of them.
//! Must never be put together from strings: serde_json writes it.

use super::{Line, room};
use crate::log::id::{RequestId, SessionId};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[derive(Serialize)]
struct Object<'a> {
    time: f64,
    id: Shown<Id>,
    session: Shown<SessionId>,
    relay: &'a str,
    client: Shown<IpAddr>,
    client_port: u16,
    server: Option<Shown<SocketAddr>>,
    table: Option<&'a str>,
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<Exchange<'a>>,
    bytes_in: u64,
    bytes_out: u64,
    times: Times,
    tag: Option<&'a str>,
    label: Option<&'a str>,
    reason: &'a str,
}

#[derive(Serialize)]
struct Exchange<'a> {
    method: Option<&'a str>,
    target: Option<&'a str>,
    version: Option<&'a str>,
    host: Option<&'a str>,
    referer: Option<&'a str>,
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, &'a str>,
    status: u16,
    body_bytes: u64,
}

#[derive(Serialize)]
struct Times {
    request: Option<f64>,
    connect: Option<f64>,
    first: Option<f64>,
    total: f64,
}

/// Written as the text that it is shown as.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// The name of a request, or of a session without one.
enum Id {
    Request(RequestId),
    Session(SessionId),
}

impl Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Id::Request(id) => id.fmt(f),
            Id::Session(id) => id.fmt(f),
        }
    }
}

fn seconds(time: Duration) -> f64 {
    // Microseconds, so that a value has no digits that were never measured.
    time.as_micros() as f64 / 1e6
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Writes the object.
pub(super) fn write(line: &Line<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut object = Object {
        time: seconds(line.began),
        id: Shown(
            line.request_id()
                .map_or(Id::Session(line.session), Id::Request),
        ),
        session: Shown(line.session),
        relay: line.relay,
        client: Shown(line.client.ip()),
        client_port: line.client.port(),
        server: line.server.map(Shown),
        table: line.host.map(|h| h.0),
        host: line.host.map(|h| h.1),
        http: line.http.map(|http| Exchange {
            method: some(http.method),
            target: some(http.target),
            version: some(http.version),
            host: some(http.host),
            referer: some(http.referer),
            user_agent: some(http.agent),
            headers: BTreeMap::new(),
            status: http.status,
            body_bytes: http.body,
        }),
        bytes_in: line.bytes_in,
        bytes_out: line.bytes_out,
        times: Times {
            request: line.times.request.map(seconds),
            connect: line.times.connect.map(seconds),
            first: line.times.first.map(seconds),
            total: seconds(line.times.total),
        },
        tag: line.tag,
        label: line.label,
        reason: line.reason,
    };
    if let (Some(http), Some(exchange)) = (line.http, &mut object.http) {
        let texts = [http.target, http.referer, http.agent, http.host];
        let mut taken: usize = texts.iter().map(|t| t.len()).sum::<usize>() + 2560;
        for (name, value) in http.headers {
            taken += name.len() + value.len() + 6;
            if taken <= room(out, out.len()) {
                exchange.headers.insert(name, value);
            }
        }
    }
    // Strings and numbers: there is nothing that JSON could not say.
    if serde_json::to_writer(&mut *out, &object).is_err() {
        out.truncate(start);
    }
}
