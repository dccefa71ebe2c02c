//! What of a client's bytes may be shown.
//! Owns the escapes, the cut of long texts and the hiding of query values.
//! Must never pass a control character, a quote, a backslash or a byte beyond ASCII as it is.

use conf::limits;
use std::fmt::Write;

/// What ends a text that was cut off.
const CUT: &str = "...";

/// Bytes as a text of printable ASCII without quotes and backslashes: others are written `%XX`. A percent sign stays
/// as it is, so that URLs look like themselves. Cut off at [`limits::ACCESS_TEXT_MAX`].
pub fn shown_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().min(limits::ACCESS_TEXT_MAX));
    append(&mut out, bytes);
    out
}

/// The same for a URL. Without `query` the values of its query are left out, and so are user and password.
pub fn shown_url(bytes: &[u8], query: bool) -> String {
    if query {
        return shown_text(bytes);
    }
    let mut out = String::with_capacity(bytes.len().min(limits::ACCESS_TEXT_MAX));
    let at = bytes.iter().position(|b| matches!(b, b'?' | b'#'));
    let (path, rest) = at
        .and_then(|at| bytes.split_at_checked(at))
        .unwrap_or((bytes, b""));
    append(&mut out, without_user(path).as_slice());
    let Some((b'?', rest)) = rest.split_first() else {
        return out;
    };
    for (index, pair) in rest.split(|b| matches!(b, b'&' | b';')).enumerate() {
        if out.len() >= limits::ACCESS_TEXT_MAX {
            break;
        }
        out.push(if index == 0 { '?' } else { '&' });
        let end = pair.iter().position(|b| matches!(b, b'=' | b'#'));
        match end.and_then(|end| pair.get(..end)) {
            Some(name) => {
                append(&mut out, name);
                out.push_str("=*");
            }
            // A query without names may be a secret as a whole.
            None => out.push('*'),
        }
    }
    out
}

/// A URL's beginning without `USER:PASSWORD@`.
fn without_user(path: &[u8]) -> Vec<u8> {
    let Some(start) = path.windows(3).position(|w| w == b"://").map(|at| at + 3) else {
        return path.to_vec();
    };
    let (scheme, rest) = path.split_at_checked(start).unwrap_or((path, b""));
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let user = rest
        .get(..end)
        .and_then(|authority| authority.iter().rposition(|b| *b == b'@'));
    match user.and_then(|at| rest.get(at + 1..)) {
        Some(after) => [scheme, after].concat(),
        None => path.to_vec(),
    }
}

fn append(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if out.len() >= limits::ACCESS_TEXT_MAX {
            out.push_str(CUT);
            return;
        }
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(*byte)),
        }
    }
}
