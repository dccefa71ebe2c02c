//! The combined form of web servers, with `name=value` fields at its end.
//! Owns their order, which log readers rely on: new fields go to the end.
//! Must never leave a field of the common part out.

use super::text::{address, append, append_at_most, number, padded, socket};
use super::{Http, Line, room};
use crate::http::clf_date;
use std::time::Duration;

/// Longest reason in a line.
const REASON_MAX: usize = 128;

/// `-` for nothing.
fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Writes the line.
pub(super) fn write(line: &Line<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    address(out, line.client.ip());
    out.extend_from_slice(b" - - [");
    clf_date(line.began.as_secs(), out);
    out.extend_from_slice(b"] \"");
    match line.http {
        Some(http) if !http.method.is_empty() => request(&http, out),
        Some(http) => unread(http.status, http.body, out),
        None => unread(0, line.bytes_out, out),
    }
    fields(line, start, out);
}

fn request(http: &Http<'_>, out: &mut Vec<u8>) {
    for (text, end) in [
        (http.method, " "),
        (http.target, " "),
        (http.version, "\" "),
    ] {
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(end.as_bytes());
    }
    padded(out, http.status.into(), 3);
    out.push(b' ');
    number(out, http.body);
    for text in [http.referer, http.agent] {
        out.extend_from_slice(b" \"");
        out.extend_from_slice(or_dash(text).as_bytes());
        out.push(b'"');
    }
}

/// Of a request that could not be read, or of none.
fn unread(status: u16, body: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"-\" ");
    padded(out, status.into(), 3);
    out.push(b' ');
    number(out, body);
    out.extend_from_slice(b" \"-\" \"-\"");
}

fn fields(line: &Line<'_>, start: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b" id=");
    match line.request_id() {
        Some(id) => id.write(out),
        None => line.session.write(out),
    }
    quoted(out, "relay", line.relay);
    out.extend_from_slice(b" port=");
    number(out, line.client.port().into());
    out.extend_from_slice(b" server=");
    match line.server {
        Some(server) => socket(out, server),
        None => out.push(b'-'),
    }
    let host = line.host;
    for (name, text) in [
        ("table", host.map(|h| h.0)),
        ("host", host.map(|h| h.1)),
        ("tag", line.tag),
        ("label", line.label),
    ] {
        if let Some(text) = text {
            quoted(out, name, text);
        }
    }
    if let Some(http) = line.http {
        further(&http, start, out);
    }
    for (name, count) in [("in", line.bytes_in), ("out", line.bytes_out)] {
        named(out, name);
        number(out, count);
    }
    for (name, time) in [
        ("request", line.times.request),
        ("connect", line.times.connect),
        ("first", line.times.first),
        ("total", Some(line.times.total)),
    ] {
        if let Some(time) = time {
            named(out, name);
            seconds(out, time);
        }
    }
    named(out, "reason");
    out.push(b'"');
    append_at_most(out, line.reason.as_bytes(), REASON_MAX);
    out.push(b'"');
}

/// The Host field and those that the configuration names, as far as there is room.
fn further(http: &Http<'_>, start: usize, out: &mut Vec<u8>) {
    let host = (!http.host.is_empty()).then_some(("vhost", http.host));
    let headers = http.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in host.into_iter().chain(headers) {
        if name.len() + value.len() + 4 <= room(out, start) {
            named(out, name);
            out.push(b'"');
            out.extend_from_slice(value.as_bytes());
            out.push(b'"');
        }
    }
}

/// ` name=`
fn named(out: &mut Vec<u8>, name: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
}

/// ` name="text"`
fn quoted(out: &mut Vec<u8>, name: &str, text: &str) {
    named(out, name);
    out.push(b'"');
    append(out, text.as_bytes());
    out.push(b'"');
}

/// Seconds with microseconds.
fn seconds(out: &mut Vec<u8>, time: Duration) {
    number(out, time.as_secs());
    out.push(b'.');
    padded(out, time.subsec_micros(), 6);
}
