//! Request targets, hosts and the list of addresses a `url` rule is looked up under.
//! Owns their splitting and the rules for Host.
//! Must never decode or normalise: servers differ in that, so rules see what servers see.

use super::{Head, Method, Refusal};

/// Splits a request target into authority (absolute form), path and query.
pub fn split_target(target: &[u8]) -> (Option<&[u8]>, &[u8], Option<&[u8]>) {
    let (authority, rest) = match scheme(target) {
        None => (None, target),
        Some(skip) => {
            let rest = target.get(skip..).unwrap_or_default();
            let end = rest
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?'))
                .unwrap_or(rest.len());
            let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, b""));
            (Some(authority), rest)
        }
    };
    let (path, query) = match memchr::memchr(b'?', rest).and_then(|at| rest.split_at_checked(at)) {
        None => (rest, None),
        Some((path, query)) => (path, query.get(1..)),
    };
    let path = if path.is_empty() && authority.is_some() {
        b"/"
    } else {
        path
    };
    (authority, path, query)
}

/// Length of `http://` or `https://`.
fn scheme(target: &[u8]) -> Option<usize> {
    if target.first() == Some(&b'/') {
        return None;
    }
    [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        target
            .get(..scheme.len())
            .filter(|start| start.eq_ignore_ascii_case(scheme))
            .map(<[u8]>::len)
    })
}

/// Checks target and Host of a request.
pub(super) fn check_target(head: &Head, bytes: &[u8]) -> Result<(), Refusal> {
    let target = head.target.of(bytes);
    let host = head.host(bytes);
    if host.is_some_and(|host| !valid_host(host)) {
        return Err(Refusal::MALFORMED_HOST);
    }
    if memchr::memchr(b'#', target).is_some() {
        return Err(Refusal::MALFORMED);
    }
    match target.first() {
        Some(b'/') => Ok(()),
        Some(b'*') if target.len() == 1 && head.method_name.of(bytes) == b"OPTIONS" => Ok(()),
        _ if head.method == Method::Connect => Ok(()),
        _ => {
            let (authority, ..) = split_target(target);
            let Some(authority) = authority else {
                return Err(Refusal::MALFORMED);
            };
            if authority.is_empty() || !valid_host(authority) {
                return Err(Refusal::MALFORMED_HOST);
            }
            if host.is_some_and(|host| !same_host(host, authority)) {
                return Err(Refusal::MALFORMED_HOST);
            }
            Ok(())
        }
    }
}

/// Whether a host, with or without a port, is one that everybody reads alike: no list, no user, no path, one port.
fn valid_host(host: &[u8]) -> bool {
    let (address, parts) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let end = memchr::memchr(b']', rest);
            let parts = end.and_then(|end| Some((rest.get(..end)?, rest.get(end + 1..)?)));
            (true, parts)
        }
        None => {
            let end = memchr::memchr(b':', host).unwrap_or(host.len());
            (false, host.split_at_checked(end))
        }
    };
    let Some((name, port)) = parts else {
        return false;
    };
    let number = port.strip_prefix(b":").unwrap_or_default();
    name.iter()
        .all(|byte| host_byte(*byte) || address && *byte == b':')
        && (port.is_empty() || port.starts_with(b":"))
        && number.iter().all(u8::is_ascii_digit)
}

/// A byte that a name may hold, or an address beside its colons.
fn host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
                | b'%'
        )
}

fn same_host(one: &[u8], other: &[u8]) -> bool {
    without_default_port(one).eq_ignore_ascii_case(without_default_port(other))
}

fn without_default_port(host: &[u8]) -> &[u8] {
    host.strip_suffix(b":80")
        .or_else(|| host.strip_suffix(b":443"))
        .unwrap_or(host)
}

/// The addresses a `url` rule is looked up under, lower-case, most specific first.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    arena: Vec<u8>,
    ends: Vec<usize>,
    host: Vec<u8>,
}

/// Hosts and path prefixes tried.
const LEVELS: usize = 5;

impl Candidates {
    /// Collects the candidates of a request (`relayd-conf` reference §14).
    ///
    /// # Errors
    /// 400 if the host is none.
    pub fn collect(
        &mut self,
        host: &[u8],
        path: &[u8],
        query: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        self.arena.clear();
        self.ends.clear();
        let mut name = std::mem::take(&mut self.host);
        let valid = canonical_host(host, &mut name);
        if valid {
            let mut from = 0;
            for _ in 0..LEVELS {
                let suffix = name.get(from..).unwrap_or_default();
                self.collect_paths(suffix, path, query);
                // Drop the first label, but never down to the last one.
                let Some(dot) = memchr::memchr(b'.', suffix) else {
                    break;
                };
                let next = suffix.get(dot + 1..).unwrap_or_default();
                if memchr::memchr(b'.', next).is_none() || is_address(&name) {
                    break;
                }
                from += dot + 1;
            }
        }
        self.host = name;
        if valid {
            Ok(())
        } else {
            Err(Refusal::BAD_REQUEST)
        }
    }

    fn collect_paths(&mut self, host: &[u8], path: &[u8], query: Option<&[u8]>) {
        if let Some(query) = query {
            self.push(&[host, path, b"?", query]);
        }
        self.push(&[host, path]);
        let mut end = 0;
        for _ in 0..LEVELS - 1 {
            let rest = path.get(end..).unwrap_or_default();
            let Some(slash) = memchr::memchr(b'/', rest) else {
                break;
            };
            end += slash + 1;
            if end >= path.len() {
                break;
            }
            self.push(&[host, path.get(..end).unwrap_or_default()]);
        }
    }

    fn push(&mut self, parts: &[&[u8]]) {
        let start = self.arena.len();
        for part in parts {
            self.arena.extend_from_slice(part);
        }
        if let Some(new) = self.arena.get_mut(start..) {
            new.make_ascii_lowercase();
        }
        self.ends.push(self.arena.len());
    }

    /// The candidates.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let part = self.arena.get(start..*end).unwrap_or_default();
            start = *end;
            part
        })
    }
}

fn is_address(name: &[u8]) -> bool {
    name.iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'.')
        || name.first() == Some(&b'[')
}

/// Lower-case, without port and superfluous dots; false if nothing is left.
fn canonical_host(host: &[u8], name: &mut Vec<u8>) -> bool {
    name.clear();
    let end = match host.first() {
        Some(b'[') => memchr::memchr(b']', host).map_or(host.len(), |at| at + 1),
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    for byte in host.get(..end).unwrap_or_default() {
        if *byte == b'.' && matches!(name.last(), None | Some(b'.')) {
            continue;
        }
        name.push(byte.to_ascii_lowercase());
    }
    if name.last() == Some(&b'.') {
        name.pop();
    }
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(host: &str, path: &str, query: Option<&str>) -> Vec<String> {
        let mut candidates = Candidates::default();
        match candidates.collect(host.as_bytes(), path.as_bytes(), query.map(str::as_bytes)) {
            Ok(()) => candidates
                .iter()
                .map(|c| String::from_utf8_lossy(c).into_owned())
                .collect(),
            Err(refusal) => vec![refusal.message.to_owned()],
        }
    }

    #[test]
    fn targets_split() {
        assert_eq!(
            split_target(b"/a?b=c?d"),
            (None, &b"/a"[..], Some(&b"b=c?d"[..]))
        );
        assert_eq!(
            split_target(b"HTTP://h:1/a"),
            (Some(&b"h:1"[..]), &b"/a"[..], None)
        );
        assert_eq!(
            split_target(b"http://h?q"),
            (Some(&b"h"[..]), &b"/"[..], Some(&b"q"[..]))
        );
        assert_eq!(split_target(b"*"), (None, &b"*"[..], None));
    }

    #[test]
    fn url_candidates_are_those_of_the_original() {
        assert_eq!(
            list("A.b.example.com:80", "/x/y/z.html", Some("q=1")),
            [
                "a.b.example.com/x/y/z.html?q=1",
                "a.b.example.com/x/y/z.html",
                "a.b.example.com/",
                "a.b.example.com/x/",
                "a.b.example.com/x/y/",
                "b.example.com/x/y/z.html?q=1",
                "b.example.com/x/y/z.html",
                "b.example.com/",
                "b.example.com/x/",
                "b.example.com/x/y/",
                "example.com/x/y/z.html?q=1",
                "example.com/x/y/z.html",
                "example.com/",
                "example.com/x/",
                "example.com/x/y/",
            ]
        );
        assert_eq!(list("localhost", "/", None), ["localhost/"]);
        assert_eq!(list("10.0.0.1", "/", None), ["10.0.0.1/"]);
        assert_eq!(list("", "/", None), ["Bad Request"]);
        assert_eq!(list("a.b.c.d.e.f.g", "/", None).len(), 5);
        assert_eq!(
            list("h", "/1/2/3/4/5/6", None),
            ["h/1/2/3/4/5/6", "h/", "h/1/", "h/1/2/", "h/1/2/3/"]
        );
    }
}
