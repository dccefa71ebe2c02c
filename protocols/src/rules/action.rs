//! What rules do to a message.
//! Owns each action's effect (`relayd-conf` reference §14) and the items of the session's log line.
//! Must never touch a field that frames the body: the message would be read differently behind us.

use super::compile::{Compiled, Name, Ruleset, Test};
use super::evaluate::{Memory, Queued, Subject, Work};
use super::find::Found;
use crate::http::{Known, split_target};
use conf::model::{Direction, KeyKind, KeyOp, Legacy};
use std::fmt::Write;

/// Does one action.
pub(super) fn apply(
    rules: &[Compiled],
    queued: &Queued,
    set: &Ruleset,
    subject: &Subject<'_>,
    memory: Memory,
    work: &mut Work,
) {
    let Some(rule) = rules.get(queued.rule as usize) else {
        return;
    };
    let Some(test) = rule.keys.get(queued.key as usize) else {
        return strip(rule.strip, subject, work);
    };
    let found = queued.found;
    match test.op {
        KeyOp::Test => {}
        KeyOp::Log => {
            if work.wants_log {
                log(test, found, set, subject, memory, work);
            }
        }
        KeyOp::Hash => hash(test.kind, found, subject, work),
        _ => match test.kind {
            KeyKind::Header => header(test, rule.legacy.as_ref(), found, subject, work),
            KeyKind::Cookie => cookie(test, found, subject, work),
            KeyKind::Path => path(test, found, subject, work),
            KeyKind::Query | KeyKind::Url => {}
        },
    }
}

fn text(test: &Test, found: Found) -> &str {
    match (&test.name, found.line) {
        (Name::One { text, .. }, _) => text,
        (Name::List(list), Some(line)) => list.line(line),
        _ => "",
    }
}

fn expand(test: &Test, subject: &Subject<'_>, work: &mut Work) -> Vec<u8> {
    let mut value = std::mem::take(&mut work.value);
    value.clear();
    test.write.expand(&subject.macros(), &mut value);
    value
}

fn header(
    test: &Test,
    legacy: Option<&Legacy>,
    found: Found,
    subject: &Subject<'_>,
    work: &mut Work,
) {
    let (head, bytes) = (subject.head, subject.bytes);
    // A glob names the field it found.
    let name = match &test.name {
        Name::One { matcher, text } if matcher.is_plain() => text.as_bytes(),
        _ => found.name.of(bytes),
    };
    if name.is_empty()
        || Known::of(name).frames()
        || !name.iter().copied().all(crate::http::is_token)
    {
        return;
    }
    if test.op == KeyOp::Remove {
        return work.edits.remove(head, bytes, name);
    }
    let value = expand(test, subject, work);
    match (test.op, legacy) {
        (KeyOp::Append, Some(_)) => work.edits.merge(head, bytes, name, &value),
        (KeyOp::Append, None) => work.edits.append(head, bytes, name, &value),
        _ => work.edits.set(head, bytes, name, &value),
    }
    work.value = value;
}

fn cookie(test: &Test, found: Found, subject: &Subject<'_>, work: &mut Work) {
    let name: &[u8] = match subject.direction {
        Direction::Request => b"Cookie",
        Direction::Response => b"Set-Cookie",
    };
    if test.op == KeyOp::Remove {
        return work.edits.remove(subject.head, subject.bytes, name);
    }
    let value = expand(test, subject, work);
    let line = [text(test, found).as_bytes(), b"=", &value, b";"].concat();
    work.edits.add(name, &line);
    work.value = value;
}

fn path(test: &Test, found: Found, subject: &Subject<'_>, work: &mut Work) {
    let value = expand(test, subject, work);
    let (before, path, after) = parts(subject, work);
    let new = match test.op {
        KeyOp::Append => [path.as_slice(), text(test, found).as_bytes()].concat(),
        KeyOp::Set => value.clone(),
        _ => b"/".to_vec(),
    };
    put(&before, &new, &after, work);
    work.value = value;
}

fn strip(count: u32, subject: &Subject<'_>, work: &mut Work) {
    let (before, path, after) = parts(subject, work);
    let mut rest = path.as_slice();
    for _ in 0..count {
        let inner = rest.strip_prefix(b"/").unwrap_or(rest);
        match memchr::memchr(b'/', inner).and_then(|at| inner.get(at..)) {
            Some(next) => rest = next,
            None => {
                rest = b"/";
                break;
            }
        }
    }
    let rest = rest.to_vec();
    put(&before, &rest, &after, work);
}

/// The target as it stands: what is before its path, the path, and the query with its mark.
fn parts(subject: &Subject<'_>, work: &Work) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let target = work.edits.target(subject.head, subject.bytes);
    let (authority, path, query) = split_target(target);
    let before = match authority {
        None => Vec::new(),
        Some(authority) => {
            let scheme = memchr::memchr(b'/', target).map_or(0, |at| at + 2);
            target
                .get(..scheme + authority.len())
                .unwrap_or_default()
                .to_vec()
        }
    };
    let after = query.map_or_else(Vec::new, |query| [b"?", query].concat());
    (before, path.to_vec(), after)
}

fn put(before: &[u8], path: &[u8], after: &[u8], work: &mut Work) {
    // A target must begin with a slash, or it would be of another form.
    let slash: &[u8] = if path.first() == Some(&b'/') {
        b""
    } else {
        b"/"
    };
    let whole = [before, slash, path, after].concat();
    work.edits.set_target(&[&whole]);
}

fn hash(kind: KeyKind, found: Found, subject: &Subject<'_>, work: &mut Work) {
    match kind {
        KeyKind::Header | KeyKind::Cookie | KeyKind::Query => {
            work.hash.extend_from_slice(found.value.of(subject.bytes));
        }
        KeyKind::Path => work.hash.extend_from_slice(subject.path),
        KeyKind::Url => {
            work.hash
                .extend_from_slice(subject.host.unwrap_or_default());
            work.hash.extend_from_slice(subject.path);
        }
    }
}

fn log(
    test: &Test,
    found: Found,
    set: &Ruleset,
    subject: &Subject<'_>,
    memory: Memory,
    work: &mut Work,
) {
    let (open, close) = match subject.direction {
        Direction::Request => ('[', ']'),
        Direction::Response => ('{', '}'),
    };
    let out = &mut work.log;
    out.push(' ');
    out.push(open);
    if let Some(label) = set.label(memory.label) {
        clean(out, label.as_bytes());
        out.push_str(", ");
    }
    match test.kind {
        KeyKind::Header | KeyKind::Cookie | KeyKind::Query => {
            clean(out, found.name.of(subject.bytes));
            out.push_str(": ");
            clean(out, found.value.of(subject.bytes));
        }
        KeyKind::Path => {
            clean(out, subject.path);
            if let Some(query) = subject.query {
                out.push_str(": ");
                clean(out, query);
            }
        }
        KeyKind::Url => match &test.name {
            Name::Digest(conf::model::Digest::Sha1(bytes)) => hex(out, bytes),
            Name::Digest(conf::model::Digest::Md5(bytes)) => hex(out, bytes),
            _ => {
                clean(out, subject.host.unwrap_or_default());
                clean(out, subject.path);
            }
        },
    }
    out.push(close);
}

/// A log line stays one line, whatever was received.
fn clean(out: &mut String, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    out.extend(
        String::from_utf8_lossy(text)
            .chars()
            .map(|c| if c.is_control() { '?' } else { c }),
    );
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}
