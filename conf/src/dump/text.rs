//! Strings as the lexer reads them back.
//! Owns quoting.
//! Must never leave a word bare that the lexer would cut or take for a keyword.

use crate::keywords;
use crate::model::Address;
use std::net::IpAddr;
use std::path::Path;

/// A string in double quotes.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut before = '\0';
    for c in text.chars() {
        // Within quotes a backslash takes a quote, a blank or a tab along; before others it stays.
        if c == '"' || (before == '\\' && (c == ' ' || c == '\t')) {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
    if before == '\\' {
        // A last backslash would take the closing quote along; one before a newline goes with it.
        out.push_str("\\\n");
    }
    out.push('"');
    out
}

/// A path in quotes.
pub(crate) fn path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// A word, quoted only where it must be.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".:_-%".contains(c);
    let first = text.chars().next();
    let bare = first.is_some_and(|c| c.is_ascii_alphanumeric() || c == ':' || c == '_')
        && text.chars().all(plain)
        && !text.chars().all(|c| c.is_ascii_digit())
        && keywords::find(text).is_none();
    if bare { text.to_owned() } else { quote(text) }
}

/// An address with its scope.
pub(crate) fn address(address: Address) -> String {
    match (address.ip, address.scope) {
        (IpAddr::V6(ip), scope) if scope != 0 => format!("{ip}%{scope}"),
        (ip, _) => ip.to_string(),
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// `\n`, `\r` and `\\` for what the check's strings translate.
pub(crate) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}
