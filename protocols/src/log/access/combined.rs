//! The combined form of web servers, with `name=value` fields at its end.
//! Owns their order, which log readers rely on: new fields go to the end.
//! Must never leave a field of the common part out.

use super::{Line, Seconds, room, shown_text};
use crate::http::clf_date;
use std::io::Write;

/// `-` for nothing.
fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Writes the line; writing to memory cannot fail.
pub(super) fn write(line: &Line<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let client = line.client.ip();
    let date = clf_date(line.began.as_secs());
    match line.http {
        Some(http) if !http.method.is_empty() => {
            let _ = write!(
                out,
                "{client} - - [{date}] \"{} {} {}\" {:03} {} \"{}\" \"{}\"",
                http.method,
                http.target,
                http.version,
                http.status,
                http.body,
                or_dash(http.referer),
                or_dash(http.agent),
            );
        }
        Some(http) => {
            let _ = write!(
                out,
                "{client} - - [{date}] \"-\" {:03} {} \"-\" \"-\"",
                http.status, http.body
            );
        }
        None => {
            let bytes = line.bytes_out;
            let _ = write!(out, "{client} - - [{date}] \"-\" 000 {bytes} \"-\" \"-\"");
        }
    }
    fields(line, start, out);
}

fn fields(line: &Line<'_>, start: usize, out: &mut Vec<u8>) {
    match line.request_id() {
        Some(id) => {
            let _ = write!(out, " id={id}");
        }
        None => {
            let _ = write!(out, " id={}", line.session);
        }
    }
    let relay = shown_text(line.relay.as_bytes());
    let _ = write!(out, " relay=\"{relay}\" port={}", line.client.port());
    match line.server {
        Some(server) => {
            let _ = write!(out, " server={server}");
        }
        None => out.extend_from_slice(b" server=-"),
    }
    if let Some((table, host)) = line.host {
        let (table, host) = (shown_text(table.as_bytes()), shown_text(host.as_bytes()));
        let _ = write!(out, " table=\"{table}\" host=\"{host}\"");
    }
    for (name, text) in [("tag", line.tag), ("label", line.label)] {
        if let Some(text) = text.map(|t| shown_text(t.as_bytes())) {
            let _ = write!(out, " {name}=\"{text}\"");
        }
    }
    if let Some(http) = line.http {
        let further = http.headers.iter();
        let vhost = (!http.host.is_empty()).then_some(("vhost", http.host));
        let further = further.map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in vhost.into_iter().chain(further) {
            if name.len() + value.len() + 4 <= room(out, start) {
                let _ = write!(out, " {name}=\"{value}\"");
            }
        }
    }
    let _ = write!(out, " in={} out={}", line.bytes_in, line.bytes_out);
    for (name, time) in [
        ("request", line.times.request),
        ("connect", line.times.connect),
        ("first", line.times.first),
        ("total", Some(line.times.total)),
    ] {
        if let Some(time) = time {
            let _ = write!(out, " {name}={}", Seconds(time));
        }
    }
    let mut reason = shown_text(line.reason.as_bytes());
    reason.truncate(128);
    let _ = write!(out, " reason=\"{reason}\"");
}
