//! Filter rules as text.
//! Owns the order of a rule's words.
//! Must never write `legacy` on a rule of today.

use super::table::digits;
use super::text::{quote, word};
use crate::model::{Action, Change, Direction, Family, Key, KeyKind, KeyOp, Legacy, Pattern, Rule};
use std::fmt::Write as _;

/// The word for a direction.
pub fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Request => "request",
        Direction::Response => "response",
    }
}

/// One rule on one line.
pub fn rule(rule: &Rule) -> String {
    let action = match rule.action {
        Action::Pass => "pass",
        Action::Block => "block",
        Action::Match => "match",
    };
    let mut out = format!("{action} {}", direction(rule.direction));
    match &rule.legacy {
        None => {}
        Some(Legacy::Expect) => out.push_str(" legacy expect"),
        Some(Legacy::Filter) => out.push_str(" legacy filter"),
        Some(Legacy::Append | Legacy::Other) => out.push_str(" legacy"),
    }
    if rule.quick {
        out.push_str(" quick");
    }
    match rule.family {
        None => {}
        Some(Family::Inet) => out.push_str(" inet"),
        Some(Family::Inet6) => out.push_str(" inet6"),
    }
    if let Some(from) = rule.from {
        let _ = write!(out, " from {from}");
    }
    if let Some(to) = rule.to {
        let _ = write!(out, " to {to}");
    }
    if let Some(method) = &rule.method {
        let _ = write!(out, " method {}", quote(method));
    }
    for entry in &rule.keys {
        key(&mut out, entry);
    }
    if let Some(strip) = rule.strip {
        let _ = write!(out, " path strip {strip}");
    }
    if let Some(table) = &rule.forward {
        let _ = write!(out, " forward to <{}>", word(table));
    }
    change(&mut out, "tag", &rule.tag);
    if let Some(tag) = &rule.tagged {
        let _ = write!(out, " tagged {}", quote(tag));
    }
    change(&mut out, "label", &rule.label);
    out
}

fn change(out: &mut String, word: &str, change: &Change) {
    let _ = match change {
        Change::Keep => Ok(()),
        Change::Clear => write!(out, " no {word}"),
        Change::Set(text) => write!(out, " {word} {}", quote(text)),
    };
}

fn key(out: &mut String, key: &Key) {
    out.push_str(match key.kind {
        KeyKind::Header => " header",
        KeyKind::Cookie => " cookie",
        KeyKind::Path => " path",
        KeyKind::Query => " query",
        KeyKind::Url => " url",
    });
    out.push_str(match key.op {
        KeyOp::Test => "",
        KeyOp::Append => " append",
        KeyOp::Set => " set",
        KeyOp::Remove => " remove",
        KeyOp::Hash => " hash",
        KeyOp::Log => " log",
    });
    if key.lua {
        out.push_str(" pattern");
    }
    let _ = match &key.pattern {
        Pattern::Any => Ok(()),
        Pattern::One(text) => write!(out, " {}", quote(text)),
        Pattern::File { path, .. } => write!(out, " file {}", quote(path)),
        Pattern::Digest(digest) => write!(out, " digest \"{}\"", digits(digest)),
    };
    if let Some(value) = &key.value {
        let _ = write!(out, " value {}", quote(value));
    }
}
