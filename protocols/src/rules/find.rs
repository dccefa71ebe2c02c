//! What a key of a rule finds in a message.
//! Owns the comparison of each key type (`relayd-conf` reference §14).
//! Must never decode: rules see the bytes that servers see.

use super::compile::{Name, Test};
use super::evaluate::{Subject, Work};
use crate::http::{Field, Known, Refusal, Span};
use conf::model::{Action, Digest, Direction, KeyKind, KeyOp};
use md5::{Digest as _, Md5};
use sha1::Sha1;

/// What was found; spans are of the message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) name: Span,
    pub(super) value: Span,
    /// Line of a file's key.
    pub(super) line: Option<u32>,
}

/// Cookies of a Cookie or Set-Cookie value: without `$` attributes and quotes.
pub(super) fn cookies(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.starts_with(b"$"))
        .filter_map(|pair| {
            let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
            let value = value.get(1..)?.trim_ascii();
            let bare = value
                .strip_prefix(b"\"")
                .and_then(|v| v.strip_suffix(b"\""));
            Some((name.trim_ascii(), bare.unwrap_or(value)))
        })
}

/// Parameters of a query string; one without `=` is none.
pub(super) fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').filter_map(|pair| {
        let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
        Some((name, value.get(1..)?))
    })
}

/// Looks for a key; what is found goes to `work.found`. False = the rule does not match.
pub(super) fn find(
    test: &Test,
    verdict: Action,
    subject: &Subject<'_>,
    work: &mut Work,
) -> Result<bool, Refusal> {
    work.found.clear();
    match test.kind {
        KeyKind::Header => Ok(header(test, subject, work)),
        KeyKind::Cookie => Ok(cookie(test, subject, work)),
        KeyKind::Path => Ok(path(test, subject, work)),
        KeyKind::Query => Ok(query(test, subject, work)),
        KeyKind::Url => url(test, verdict, subject, work),
    }
}

fn found(subject: &Subject<'_>, name: &[u8], value: &[u8]) -> Found {
    Found {
        name: subject.span(name),
        value: subject.span(value),
        line: None,
    }
}

fn header(test: &Test, subject: &Subject<'_>, work: &mut Work) -> bool {
    let adds = matches!(test.op, KeyOp::Append | KeyOp::Set);
    let bytes = subject.bytes;
    let fields = &subject.head.fields;
    let of = |field: &Field| Found {
        name: field.name,
        value: field.value,
        line: None,
    };
    match &test.name {
        Name::Any | Name::Digest(_) => true,
        Name::One { text, matcher } if matcher.is_plain() => {
            let field = subject.head.find(bytes, text.as_bytes());
            work.found.extend(field.map(of));
            adds || field.is_some_and(|field| test.value.matches(field.value.of(bytes)))
        }
        Name::One { matcher, .. } => {
            let lower = |field: &&Field| field.name.of(bytes).to_ascii_lowercase();
            let field = fields
                .iter()
                .filter(|field| matcher.matches(field.name.of(bytes)))
                .min_by_key(lower);
            work.found.extend(field.map(of));
            adds || field.is_some_and(|field| test.value.matches(field.value.of(bytes)))
        }
        Name::List(list) => {
            for field in fields {
                let name = field.name.of(bytes);
                let Some(line) = list.find(name, &mut work.spare) else {
                    continue;
                };
                // Only the first of repeated fields is looked at.
                let first = subject.head.find(bytes, name).map(|f| f.name);
                if first == Some(field.name) && test.value.matches(field.value.of(bytes)) {
                    work.found.push(Found {
                        line: Some(line),
                        ..of(field)
                    });
                }
            }
            sorted(work)
        }
    }
}

/// Matches are acted on in the order of the file's lines.
fn sorted(work: &mut Work) -> bool {
    work.found.sort_by_key(|found| found.line);
    !work.found.is_empty()
}

fn cookie(test: &Test, subject: &Subject<'_>, work: &mut Work) -> bool {
    if matches!(test.op, KeyOp::Append | KeyOp::Set) {
        return true;
    }
    let Some(value) = subject.cookies() else {
        return false;
    };
    for (name, value) in cookies(value) {
        let line = match &test.name {
            Name::Any | Name::Digest(_) => return true,
            Name::One { matcher, .. } if is_all(test) || matcher.matches(name) => None,
            Name::One { .. } => continue,
            Name::List(list) => match list.find(name, &mut work.spare) {
                Some(line) => Some(line),
                None => continue,
            },
        };
        if test.value.matches(value) {
            work.found.push(Found {
                line,
                ..found(subject, name, value)
            });
            if line.is_none() {
                return true;
            }
        }
    }
    matches!(test.name, Name::Any | Name::Digest(_)) || sorted(work)
}

/// A log without key.
fn is_all(test: &Test) -> bool {
    test.op == KeyOp::Log && matches!(&test.name, Name::One { text, .. } if &**text == "*")
}

fn query(test: &Test, subject: &Subject<'_>, work: &mut Work) -> bool {
    if matches!(test.name, Name::Any | Name::Digest(_)) {
        return true;
    }
    for (name, value) in parameters(subject.query.unwrap_or_default()) {
        let line = match &test.name {
            Name::One { matcher, .. } if matcher.matches(name) => None,
            Name::List(list) => match list.find(name, &mut work.spare) {
                Some(line) => Some(line),
                None => continue,
            },
            _ => continue,
        };
        if test.value.matches(value) {
            work.found.push(Found {
                line,
                ..found(subject, name, value)
            });
            if line.is_none() {
                return true;
            }
        }
    }
    sorted(work)
}

fn path(test: &Test, subject: &Subject<'_>, work: &mut Work) -> bool {
    let line = match &test.name {
        Name::Any | Name::Digest(_) => return true,
        Name::One { matcher, .. } if matcher.matches(subject.path) => None,
        Name::One { .. } => return false,
        Name::List(list) => match list.find(subject.path, &mut work.spare) {
            Some(line) => Some(line),
            None => return false,
        },
    };
    if test.op == KeyOp::Test && !test.value.matches(subject.query.unwrap_or_default()) {
        return false;
    }
    work.found.push(Found {
        line,
        ..Found::default()
    });
    true
}

fn url(
    test: &Test,
    verdict: Action,
    subject: &Subject<'_>,
    work: &mut Work,
) -> Result<bool, Refusal> {
    if matches!(test.name, Name::Any) {
        return Ok(true);
    }
    if subject.host.is_none() {
        return Ok(true);
    }
    if !work.urls_valid {
        return Err(Refusal::BAD_REQUEST);
    }
    let line = match &test.name {
        Name::One { text, .. } if test.op == KeyOp::Log && verdict != Action::Block => {
            let flags = crate::glob::Flags::CASE_FOLD;
            if !crate::glob::matches(text.as_bytes(), subject.path, flags) && !listed(test, work) {
                return Ok(false);
            }
            None
        }
        Name::One { .. } if listed(test, work) => None,
        Name::Digest(digest) if digested(digest, work) => None,
        Name::List(list) => {
            let mut spare = std::mem::take(&mut work.spare);
            let line = work
                .urls
                .iter()
                .filter_map(|url| list.find(url, &mut spare))
                .min();
            work.spare = spare;
            match line {
                Some(line) => Some(line),
                None => return Ok(false),
            }
        }
        _ => return Ok(false),
    };
    work.found.push(Found {
        line,
        ..Found::default()
    });
    Ok(true)
}

fn listed(test: &Test, work: &Work) -> bool {
    match &test.name {
        Name::One { matcher, .. } => work.urls.iter().any(|url| matcher.matches(url)),
        _ => false,
    }
}

fn digested(digest: &Digest, work: &mut Work) -> bool {
    match digest {
        Digest::Sha1(wanted) => {
            if work.sha1.is_empty() {
                work.sha1 = work
                    .urls
                    .iter()
                    .map(|url| Sha1::digest(url).into())
                    .collect();
            }
            work.sha1.contains(wanted)
        }
        Digest::Md5(wanted) => {
            if work.md5.is_empty() {
                work.md5 = work
                    .urls
                    .iter()
                    .map(|url| Md5::digest(url).into())
                    .collect();
            }
            work.md5.contains(wanted)
        }
    }
}

impl Subject<'_> {
    /// Value of the first Cookie or Set-Cookie field.
    pub(super) fn cookies(&self) -> Option<&[u8]> {
        let known = match self.direction {
            Direction::Request => Known::Cookie,
            Direction::Response => Known::SetCookie,
        };
        let field = self.head.fields.iter().find(|f| f.known == known)?;
        Some(field.value.of(self.bytes))
    }
}
