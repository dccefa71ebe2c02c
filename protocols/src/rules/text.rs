//! Texts that rules compare with and write.
//! Owns globs prepared for quick comparison, and values with `$` macros.
//! Must never look at more than the text it is given.

use crate::log::id::RequestId;
use crate::{glob, pattern};
use std::io::Write;
use std::net::SocketAddr;

/// A prepared pattern.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    form: Form,
    fold: bool,
}

#[derive(Clone, Debug)]
enum Form {
    Any,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Glob(Box<[u8]>),
    Lua(Box<[u8]>),
}

/// Whether a text is more than itself as a glob.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

impl Matcher {
    /// A glob, or a Lua-style pattern; `fold` = letters of either case are equal.
    pub(super) fn new(text: &str, fold: bool, lua: bool) -> Matcher {
        let bytes = |text: &str| text.as_bytes().into();
        let form = if lua {
            Form::Lua(bytes(text))
        } else if text == "*" {
            Form::Any
        } else if !is_glob(text) {
            Form::Exact(bytes(text))
        } else if let Some(start) = text.strip_suffix('*').filter(|t| !is_glob(t)) {
            Form::Prefix(bytes(start))
        } else if let Some(end) = text.strip_prefix('*').filter(|t| !is_glob(t)) {
            Form::Suffix(bytes(end))
        } else {
            Form::Glob(bytes(text))
        };
        Matcher { form, fold }
    }

    /// A text that stands for itself.
    pub(super) fn exact(text: &str, fold: bool) -> Matcher {
        Matcher {
            form: Form::Exact(text.as_bytes().into()),
            fold,
        }
    }

    /// The text, if only itself matches.
    pub(super) fn literal(&self) -> Option<&[u8]> {
        match &self.form {
            Form::Exact(text) if !self.fold => Some(text),
            _ => None,
        }
    }

    /// The text that every match begins with.
    pub(super) fn literal_start(&self) -> Option<&[u8]> {
        match &self.form {
            Form::Exact(text) | Form::Prefix(text) if !self.fold => Some(text),
            Form::Glob(text) if !self.fold => text
                .split(|byte| b"*?[\\".contains(byte))
                .next()
                .filter(|start| !start.is_empty()),
            _ => None,
        }
    }

    /// Only one text matches, in either case.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.form, Form::Exact(_))
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let same = |a: &[u8], b: &[u8]| {
            if self.fold {
                a.eq_ignore_ascii_case(b)
            } else {
                a == b
            }
        };
        match &self.form {
            Form::Any => true,
            Form::Exact(wanted) => same(wanted, text),
            Form::Prefix(start) => text.get(..start.len()).is_some_and(|t| same(start, t)),
            Form::Suffix(end) => text
                .len()
                .checked_sub(end.len())
                .and_then(|at| text.get(at..))
                .is_some_and(|t| same(end, t)),
            Form::Glob(pattern) => {
                let flags = glob::Flags {
                    case_fold: self.fold,
                    ..glob::Flags::NONE
                };
                glob::matches(pattern, text, flags)
            }
            Form::Lua(wanted) => pattern::matches(wanted, text),
        }
    }
}

/// What `$` macros stand for.
#[derive(Clone, Copy, Debug)]
pub struct Macros<'a> {
    /// `$HOST`: Host field of the message; the listening address is used without it.
    pub host: Option<&'a [u8]>,
    /// `$REMOTE_ADDR`, `$REMOTE_PORT`: peer of the message.
    pub remote: SocketAddr,
    /// `$SERVER_ADDR`, `$SERVER_PORT`: the relay's listening address.
    pub server: SocketAddr,
    /// `$TIMEOUT`: session timeout in seconds.
    pub timeout: u64,
    /// `$REQUEST_ID` (extension); nothing without it.
    pub request: Option<RequestId>,
}

/// A value to be written, with macros.
#[derive(Clone, Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<[u8]>),
    Macro(Macro),
}

#[derive(Clone, Copy, Debug)]
enum Macro {
    Host,
    RemoteAddr,
    RemotePort,
    ServerAddr,
    ServerPort,
    ServerName,
    Timeout,
    RequestId,
}

const MACROS: [(&str, Macro); 8] = [
    ("$HOST", Macro::Host),
    ("$REMOTE_ADDR", Macro::RemoteAddr),
    ("$REMOTE_PORT", Macro::RemotePort),
    ("$SERVER_ADDR", Macro::ServerAddr),
    ("$SERVER_PORT", Macro::ServerPort),
    ("$SERVER_NAME", Macro::ServerName),
    ("$TIMEOUT", Macro::Timeout),
    ("$REQUEST_ID", Macro::RequestId),
];

impl Template {
    pub(super) fn new(text: &str) -> Template {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let found = MACROS
                .iter()
                .find_map(|(name, kind)| Some((rest.strip_prefix(name)?, *kind)));
            if let Some((after, kind)) = found {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain).into_bytes().into()));
                }
                parts.push(Part::Macro(kind));
                rest = after;
            } else {
                plain.push(next);
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into_bytes().into()));
        }
        Template { parts }
    }

    /// Writes the value to `out`.
    pub(super) fn expand(&self, macros: &Macros<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            // Writing to memory cannot fail.
            let _ = match part {
                Part::Text(text) => out.write_all(text),
                Part::Macro(Macro::Host) => match macros.host {
                    Some(host) => out.write_all(host),
                    None => write!(out, "{}", macros.server.ip()),
                },
                Part::Macro(Macro::RemoteAddr) => write!(out, "{}", macros.remote.ip()),
                Part::Macro(Macro::RemotePort) => write!(out, "{}", macros.remote.port()),
                Part::Macro(Macro::ServerAddr) => write!(out, "{}", macros.server.ip()),
                Part::Macro(Macro::ServerPort) => write!(out, "{}", macros.server.port()),
                Part::Macro(Macro::ServerName) => write!(out, "{}", crate::http::SERVER_NAME),
                Part::Macro(Macro::Timeout) => write!(out, "{}", macros.timeout),
                Part::Macro(Macro::RequestId) => match macros.request {
                    Some(id) => write!(out, "{id}"),
                    None => Ok(()),
                },
            };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prepared_globs_agree_with_the_glob() {
        for pattern in [
            "*", "abc", "abc*", "*abc", "a*c", "a?c", "[ab]bc", "*b*", "", "a\\*c",
        ] {
            for text in ["", "abc", "ABC", "xabc", "abcx", "ac", "a*c", "bbc"] {
                for fold in [false, true] {
                    let flags = if fold {
                        glob::Flags::CASE_FOLD
                    } else {
                        glob::Flags::NONE
                    };
                    assert_eq!(
                        Matcher::new(pattern, fold, false).matches(text.as_bytes()),
                        glob::matches(pattern.as_bytes(), text.as_bytes(), flags),
                        "{pattern} {text} {fold}"
                    );
                }
            }
        }
    }

    #[test]
    fn macros_expand() {
        let macros = Macros {
            host: Some(b"www"),
            remote: "10.0.0.1:99".parse().unwrap(),
            server: "[::1]:80".parse().unwrap(),
            timeout: 600,
            request: Some(RequestId::default()),
        };
        let expand = |text: &str, macros: &Macros<'_>| {
            let mut out = Vec::new();
            Template::new(text).expand(macros, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            expand(
                "$REMOTE_ADDR:$REMOTE_PORT $SERVER_ADDR,$SERVER_PORT $SERVER_NAME $TIMEOUT$HOST",
                &macros
            ),
            "10.0.0.1:99 ::1,80 OpenBSD relayd 600www"
        );
        assert_eq!(expand("<$REQUEST_ID>", &macros), "<000000000000-0-0>");
        assert_eq!(expand("$OTHER $ 100% ä", &macros), "$OTHER $ 100% ä");
        assert_eq!(
            expand(
                "$HOST",
                &Macros {
                    host: None,
                    ..macros
                }
            ),
            "::1"
        );
    }
}
