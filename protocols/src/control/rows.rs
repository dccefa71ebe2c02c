//! The rows of `relayctl show` and `relayctl monitor`, byte for byte the original's.
//! Owns every word and width that relayctl prints about an object.
//! Must never read a clock or a time zone: they come in as text or numbers.

use super::extension::{Topic, Traffic};
use super::flags;
use super::kind;
use super::record::{
    HostRecord, RedirectRecord, RelayRecord, RouteRecord, RouterRecord, SessionRecord,
    StatisticsRecord, TableRecord, TrafficRecord,
};
use super::reply::Reply;
use super::request::ObjectId;
use crate::host::Reason;
use std::net::SocketAddr;
use std::time::Duration;

/// Where extra lines of an object begin.
const INDENT: &str = "\t        \t";

/// The heading of all lists but that of sessions.
pub fn heading() -> String {
    row("Id", "Type", "Name", "Avlblty", "Status")
}

fn row(id: &str, class: &str, name: &str, availability: &str, status: &str) -> String {
    format!("{id:<4}\t{class:<8}\t{name:<24}\t{availability:<7}\t{status}\n")
}

fn object(id: u32, class: &str, name: &str, availability: &str, status: &str) -> String {
    row(&id.to_string(), class, name, availability, status)
}

/// Status of a redirection.
pub fn redirect_status(bits: u32) -> &'static str {
    if bits & flags::DISABLE != 0 {
        "disabled"
    } else if bits & flags::DOWN != 0 {
        "down"
    } else if bits & flags::BACKUP != 0 {
        "active (using backup table)"
    } else {
        "active"
    }
}

/// Status of a table with `up` hosts.
pub fn table_status(bits: u32, up: i32) -> String {
    if bits & flags::DISABLE != 0 {
        "disabled".to_owned()
    } else if up == 0 {
        "empty".to_owned()
    } else {
        format!("active ({up} hosts)")
    }
}

/// Status of a host.
pub fn host_status(bits: u32, up: i32) -> &'static str {
    if bits & flags::DISABLE != 0 {
        return "disabled";
    }
    state(up)
}

/// Status of a relay or router.
pub fn plain_status(bits: u32) -> &'static str {
    if bits & flags::DISABLE != 0 {
        "disabled"
    } else {
        "active"
    }
}

fn state(up: i32) -> &'static str {
    match up {
        1 => "up",
        -1 => "down",
        _ => "unknown",
    }
}

/// `PP.PP%`, or nothing when never checked.
pub fn availability(ups: u64, checks: u64) -> String {
    if checks == 0 {
        return String::new();
    }
    format!("{:.2}%", ups as f64 / checks as f64 * 100.0)
}

fn redirect(record: &RedirectRecord) -> String {
    object(
        record.id,
        "redirect",
        &record.name,
        "",
        redirect_status(record.flags),
    )
}

fn table(record: &TableRecord) -> String {
    let status = table_status(record.flags, record.up);
    object(record.id, "table", &record.name, "", &status)
}

fn host(record: &HostRecord, details: bool) -> String {
    let name = if record.parent == 0 {
        record.name.clone()
    } else {
        format!("{} parent {}", record.name, record.parent)
    };
    let mut out = object(
        record.id,
        "host",
        &name,
        &availability(record.ups, record.checks),
        host_status(record.flags, record.up),
    );
    if details && record.checks > 0 {
        out.push_str(&format!(
            "{INDENT}total: {}/{} checks",
            record.ups, record.checks
        ));
        if record.retries > 0 {
            out.push_str(&format!(", {} retries", record.retries));
        }
        if record.reason != 0 && record.up == -1 {
            let text = Reason::from_number(record.reason).map_or("invalid", Reason::text);
            out.push_str(&format!(", error: {text}"));
        }
        out.push('\n');
    }
    out
}

fn relay(record: &RelayRecord) -> String {
    object(
        record.id,
        "relay",
        &record.name,
        "",
        plain_status(record.flags),
    )
}

fn router(record: &RouterRecord, details: bool) -> String {
    let mut out = object(
        record.id,
        "router",
        &record.name,
        "",
        plain_status(record.flags),
    );
    if details {
        if record.rtable != 0 {
            out.push_str(&format!("{INDENT}rtable: {}\n", record.rtable));
        }
        if !record.label.is_empty() {
            out.push_str(&format!("{INDENT}rtlabel: {}\n", record.label));
        }
    }
    out
}

fn route(record: &RouteRecord) -> String {
    let address = record.address.map(|a| a.to_string()).unwrap_or_default();
    format!("{INDENT}route: {address}/{}\n", record.prefix)
}

fn statistics(s: &StatisticsRecord) -> String {
    if s.total == 0 {
        return String::new();
    }
    let interval = s.interval;
    format!(
        "{INDENT}total: {} sessions\n\
         {INDENT}last: {}/{interval}s {}/h {}/d sessions\n\
         {INDENT}average: {}/{interval}s {}/h {}/d sessions\n",
        s.total, s.last, s.last_hour, s.last_day, s.average, s.average_hour, s.average_day,
    )
}

/// Three lines after those of the sessions, where packets and bytes are counted.
fn traffic(record: &TrafficRecord, interval: u64) -> String {
    if record.total == Traffic::default() {
        return String::new();
    }
    let line = |name: &str, t: Traffic, per: &str| {
        format!(
            "{INDENT}{name}: {}{per} packets {}{per} bytes in, {}{per} packets {}{per} bytes out\n",
            t.packets_in, t.bytes_in, t.packets_out, t.bytes_out
        )
    };
    let per = format!("/{interval}s");
    line("total", record.total, "")
        + &line("last", record.last, &per)
        + &line("average", record.average, &per)
}

/// What a `show` command other than `show sessions` prints of a reply; nothing of replies that it does not show.
pub fn show(topic: Topic, reply: &Reply) -> String {
    let is = |wanted: Topic| topic == wanted;
    let summary = is(Topic::Summary);
    match reply {
        Reply::Redirect(record) if summary || is(Topic::Redirects) => redirect(record),
        Reply::RedirectStatistics(record, moved) if is(Topic::Redirects) => {
            let moved = moved.map(|moved| traffic(&moved, record.interval));
            statistics(record) + &moved.unwrap_or_default()
        }
        Reply::Table(record) if summary || is(Topic::Hosts) => table(record),
        Reply::Host(record) if summary || is(Topic::Hosts) => host(record, is(Topic::Hosts)),
        Reply::Relay(record) if summary || is(Topic::Relays) => relay(record),
        Reply::RelayStatistics(list) if is(Topic::Relays) => {
            statistics(&StatisticsRecord::sum(list))
        }
        Reply::Router(record) if summary || is(Topic::Routers) => {
            router(record, is(Topic::Routers))
        }
        Reply::Route(record) if is(Topic::Routers) => route(record),
        _ => String::new(),
    }
}

fn clock(time: Duration) -> String {
    let s = time.as_secs();
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// `ADDR:PORT` without brackets; nothing before the colon when there is no address.
fn endpoint(address: Option<SocketAddr>) -> String {
    match address {
        None => ":0".to_owned(),
        Some(SocketAddr::V4(v4)) => format!("{}:{}", v4.ip(), v4.port()),
        Some(SocketAddr::V6(v6)) if v6.scope_id() != 0 => {
            format!("{}%{}:{}", v6.ip(), v6.scope_id(), v6.port())
        }
        Some(SocketAddr::V6(v6)) => format!("{}:{}", v6.ip(), v6.port()),
    }
}

/// Two lines of `show sessions`; `now` is the monotonic clock that the record's times come from.
pub fn session(peer: u32, record: &SessionRecord, now: Duration) -> String {
    let tag = if record.tag == 0 {
        String::new()
    } else {
        format!(", tag (id) {}", record.tag)
    };
    format!(
        "session {peer}:{} {} -> {}\t{}\n\tage {}, idle {}, relay {}, pid {}{tag}\n",
        record.id,
        endpoint(record.client),
        endpoint(record.server),
        if record.done { "DONE" } else { "RUNNING" },
        clock(now.saturating_sub(record.started)),
        clock(now.saturating_sub(record.last)),
        record.relay,
        record.pid,
    )
}

/// The lines of one event in `monitor`. `epoch` are seconds since 1970 and `date` the same as ctime(3) writes it,
/// without its line end. The second value is false when the monitor ends after this event.
pub fn event(
    number: u32,
    length: usize,
    peer: u32,
    pid: u32,
    event: Option<&Reply>,
    epoch: i64,
    date: &str,
) -> (String, bool) {
    let name = kind::event_name(number);
    let mut out = format!(
        "{}: imsg type {number} len {length} peerid {peer} pid {pid}\n\ttimestamp: {epoch}, {date}\n",
        name.unwrap_or("<unknown>"),
    );
    match event {
        Some(Reply::HostStatus(status)) => {
            out.push_str(&format!(
                "\tid: {}\n\tstate: {}\n",
                status.id,
                state(status.up)
            ));
        }
        Some(Reply::TableChanged(id) | Reply::PullRuleset(id) | Reply::PushRuleset(id)) => {
            out.push_str(&format!("\tid: {id}\n"));
        }
        Some(Reply::Switched { object, .. }) => match object {
            ObjectId::Id(id) => out.push_str(&format!("\tid: {id}\n")),
            ObjectId::Name(name) => {
                out.push_str(&format!("\tid: {}\n\tname: {name}\n", u32::MAX));
            }
        },
        _ => {}
    }
    (out, name.is_some())
}

#[cfg(test)]
mod tests;
