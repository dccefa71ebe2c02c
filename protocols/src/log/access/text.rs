//! What of a client's bytes may be shown.
//! Owns the escapes, the cut of long texts and the hiding of query values.
//! Must never pass a control character, a quote, a backslash or a byte beyond ASCII as it is.

use conf::limits;
use memchr::memmem;
use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// What ends a text that was cut off.
const CUT: &[u8] = b"...";
/// Digits of numbers and of escapes.
const DIGITS: [u8; 16] = *b"0123456789ABCDEF";

/// Bytes as a text of printable ASCII without quotes and backslashes: others are written `%XX`. A percent sign stays
/// as it is, so that URLs look like themselves. Cut off at [`limits::ACCESS_TEXT_MAX`].
pub fn shown_text(bytes: &[u8]) -> String {
    let mut out = room_for(bytes);
    append(&mut out, bytes);
    ascii(out)
}

/// The same for a URL. Without `query` the values of its query are left out, and so are user and password.
pub fn shown_url(bytes: &[u8], query: bool) -> String {
    if query {
        return shown_text(bytes);
    }
    let mut out = room_for(bytes);
    let at = memchr::memchr2(b'?', b'#', bytes);
    let (path, rest) = at
        .and_then(|at| bytes.split_at_checked(at))
        .unwrap_or((bytes, b""));
    append_until(&mut out, &without_user(path), limits::ACCESS_TEXT_MAX);
    let Some((b'?', rest)) = rest.split_first() else {
        return ascii(out);
    };
    for (index, pair) in rest.split(|b| matches!(b, b'&' | b';')).enumerate() {
        if out.len() >= limits::ACCESS_TEXT_MAX {
            break;
        }
        out.push(if index == 0 { b'?' } else { b'&' });
        let end = pair.iter().position(|b| matches!(b, b'=' | b'#'));
        match end.and_then(|end| pair.get(..end)) {
            Some(name) => {
                append_until(&mut out, name, limits::ACCESS_TEXT_MAX);
                out.extend_from_slice(b"=*");
            }
            // A query without names may be a secret as a whole.
            None => out.push(b'*'),
        }
    }
    ascii(out)
}

fn room_for(bytes: &[u8]) -> Vec<u8> {
    Vec::with_capacity(bytes.len().min(limits::ACCESS_TEXT_MAX) + CUT.len())
}

/// What [`append`] wrote as a text.
fn ascii(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

/// A URL's beginning without `USER:PASSWORD@`.
fn without_user(path: &[u8]) -> Cow<'_, [u8]> {
    // Most have no colon at all.
    let colon = memchr::memchr(b':', path);
    let Some(start) = colon
        .and_then(|_| memmem::find(path, b"://"))
        .map(|at| at + 3)
    else {
        return path.into();
    };
    let (scheme, rest) = path.split_at_checked(start).unwrap_or((path, b""));
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let user = rest
        .get(..end)
        .and_then(|authority| authority.iter().rposition(|b| *b == b'@'));
    match user.and_then(|at| rest.get(at + 1..)) {
        Some(after) => [scheme, after].concat().into(),
        None => path.into(),
    }
}

/// Whether a byte cannot be shown as it is.
fn hidden(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f..)
}

/// Appends bytes as [`shown_text`] shows them.
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    append_at_most(out, bytes, limits::ACCESS_TEXT_MAX);
}

/// The same, cut off after so many bytes.
pub(super) fn append_at_most(out: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let end = out.len().saturating_add(most);
    append_until(out, bytes, end);
}

/// The same, cut off when `out` as a whole has so many bytes.
fn append_until(out: &mut Vec<u8>, bytes: &[u8], end: usize) {
    let left = end.saturating_sub(out.len());
    // Most texts need no escape and no cut.
    if bytes.len() <= left
        && !bytes
            .iter()
            .fold(false, |found, byte| found | hidden(*byte))
    {
        out.extend_from_slice(bytes);
        return;
    }
    for &byte in bytes {
        if out.len() >= end {
            out.extend_from_slice(CUT);
            return;
        }
        if hidden(byte) {
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'?');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(byte);
        }
    }
}

/// Appends an address.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (place, part) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                number(out, part.into());
            }
        }
        // Writing to memory cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// Appends an address with its port.
pub(super) fn socket(out: &mut Vec<u8>, socket: SocketAddr) {
    match socket {
        SocketAddr::V4(v4) => {
            address(out, IpAddr::V4(*v4.ip()));
            out.push(b':');
            number(out, v4.port().into());
        }
        SocketAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// What `write` appends, as a text of its own.
pub(super) fn text_of(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(32);
    write(&mut out);
    ascii(out)
}

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a number with zeros before it, so that it has `digits` at least.
pub(super) fn padded(out: &mut Vec<u8>, number: u32, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number);
    out.extend(std::iter::repeat_n(b'0', digits.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}
