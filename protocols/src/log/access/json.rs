//! One JSON object a line.
//! Owns the names of its members; `null` = not known, so that each line has all of them.
//! Must never be put together from strings: serde_json writes it.

use super::text::{address, socket, text_of};
use super::{Line, room};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Serialize)]
struct Object<'a> {
    time: f64,
    id: String,
    session: String,
    relay: &'a str,
    client: String,
    client_port: u16,
    server: Option<String>,
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
        id: text_of(|out| match line.request_id() {
            Some(id) => id.write(out),
            None => line.session.write(out),
        }),
        session: text_of(|out| line.session.write(out)),
        relay: line.relay,
        client: text_of(|out| address(out, line.client.ip())),
        client_port: line.client.port(),
        server: line.server.map(|server| text_of(|out| socket(out, server))),
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
