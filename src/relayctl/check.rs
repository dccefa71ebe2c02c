//! `check`: a monitoring plugin in the manner of Nagios: one line with numbers, exit status 0 to 3.
//! Owns what counts as critical (a service without hosts) and as a warning (a host down, a backup in use).
//! Must never hang: the daemon gets a bounded time.

use crate::connection::Connection;
use crate::error::CtlError;
use crate::show;
use protocols::control::extension::{Object, Topic};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// Prints the line; its status comes back as an error unless all is well.
pub fn run(socket: &Path, out: &mut dyn Write) -> Result<(), CtlError> {
    let answer = Connection::open(socket)
        .and_then(|mut connection| show::objects(&mut connection, Topic::Summary));
    let (status, line) = match answer {
        Ok(objects) => judge(&objects),
        Err(e @ CtlError::Connect(..)) => (CRITICAL, strip(&e)),
        Err(e) => (UNKNOWN, strip(&e)),
    };
    let word = match status {
        0 => "OK",
        WARNING => "WARNING",
        CRITICAL => "CRITICAL",
        _ => "UNKNOWN",
    };
    writeln!(out, "RELAYD {word} - {line}").map_err(CtlError::output)?;
    match status {
        0 => Ok(()),
        status => Err(CtlError::Check(status)),
    }
}

fn strip(error: &CtlError) -> String {
    error
        .to_string()
        .trim_start_matches("relayctl: ")
        .to_owned()
}

/// Status and line of a set of objects.
pub fn judge(objects: &[Object]) -> (u8, String) {
    let mut critical = Vec::new();
    let mut warning = Vec::new();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    // Tables that can serve: some host up, or no check at all.
    let usable: BTreeMap<u32, bool> = objects
        .iter()
        .filter_map(|o| match o {
            Object::Table {
                id,
                disabled,
                up,
                check,
                ..
            } => Some((*id, !disabled && (*up > 0 || check == "none"))),
            _ => None,
        })
        .collect();
    for object in objects {
        match object {
            Object::Redirect { name, status, .. } => match status.as_str() {
                "down" => critical.push(format!("redirect {name} down")),
                "active (using backup table)" => {
                    warning.push(format!("redirect {name} uses its backup table"));
                }
                _ => {}
            },
            Object::Relay {
                name,
                disabled: false,
                tables,
                ..
            } if !tables.is_empty()
                && !tables
                    .iter()
                    .any(|t| usable.get(t).copied().unwrap_or(false)) =>
            {
                critical.push(format!("relay {name} without hosts"));
            }
            Object::Router {
                name,
                disabled: false,
                table,
                ..
            } if !usable.get(table).copied().unwrap_or(false) => {
                critical.push(format!("router {name} without gateways"));
            }
            Object::Host { name, status, .. } => {
                let key = match status.as_str() {
                    "up" => "hosts_up",
                    "down" => "hosts_down",
                    "disabled" => "hosts_disabled",
                    _ => "hosts_unknown",
                };
                *counts.entry(key).or_default() += 1;
                if key == "hosts_down" {
                    warning.push(format!("host {name} down"));
                }
            }
            _ => {}
        }
    }
    let status = match (critical.is_empty(), warning.is_empty()) {
        (false, _) => CRITICAL,
        (true, false) => WARNING,
        (true, true) => 0,
    };
    let mut numbers = String::new();
    for key in ["hosts_up", "hosts_down", "hosts_unknown", "hosts_disabled"] {
        numbers.push_str(&format!(" {key}={}", counts.get(key).copied().unwrap_or(0)));
    }
    critical.extend(warning);
    let text = if critical.is_empty() {
        format!("{} hosts up", counts.get("hosts_up").copied().unwrap_or(0))
    } else {
        critical.join(", ")
    };
    (status, format!("{text} |{numbers}"))
}
