//! Bracket expressions of a glob: `[a-z]`, `[!x]`, `[[:digit:]]`.
//! Owns their grammar in the C locale.
//! Must never look beyond the bracket: an unterminated one is reported, and is then an ordinary `[`.

use super::Flags;

/// How one byte fares against a bracket expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bracket {
    /// The byte is in the set (or not in it, for `[!…]`).
    pub matched: bool,
    /// Length of the expression without its opening `[`.
    pub length: usize,
}

/// One item of a set, and what follows it.
enum Item<'a> {
    Byte(u8),
    Class(&'a [u8]),
}

/// Looks at the expression that begins after a `[`. `None`: it has no end.
pub(super) fn matches(inner: &[u8], byte: u8, flags: Flags) -> Option<Bracket> {
    let (negated, start) = match inner.first() {
        Some(b'!' | b'^') => (true, 1),
        _ => (false, 0),
    };
    let mut at = start;
    let mut found = false;
    loop {
        let next = *inner.get(at)?;
        if next == b']' && at > start {
            return Some(Bracket {
                matched: found != negated,
                length: at + 1,
            });
        }
        let (item, length) = item(inner.get(at..)?, flags)?;
        at += length;
        match item {
            Item::Class(name) => found |= in_class(name, byte),
            Item::Byte(low) => {
                let high = match (inner.get(at), inner.get(at + 1)) {
                    (Some(b'-'), Some(end)) if *end != b']' => {
                        let (high, length) = endpoint(inner.get(at + 1..)?, flags)?;
                        at += 1 + length;
                        high
                    }
                    _ => low,
                };
                found |= in_range(low, high, byte, flags);
            }
        }
    }
}

/// Reads a byte, an escaped byte, `[:class:]`, `[=x=]` or `[.x.]`.
fn item<'a>(text: &'a [u8], flags: Flags) -> Option<(Item<'a>, usize)> {
    if let Some((name, length)) = special(text, b':') {
        return Some((Item::Class(name), length));
    }
    endpoint(text, flags).map(|(byte, length)| (Item::Byte(byte), length))
}

/// Reads what may stand at an end of a range.
fn endpoint(text: &[u8], flags: Flags) -> Option<(u8, usize)> {
    for kind in [b'=', b'.'] {
        if let Some(([byte], length)) = special(text, kind) {
            return Some((*byte, length));
        }
    }
    match text {
        [b'\\', escaped, ..] if !flags.no_escape => Some((*escaped, 2)),
        [b'\\'] if !flags.no_escape => None,
        [byte, ..] => Some((*byte, 1)),
        [] => None,
    }
}

/// Content and length of `[KIND … KIND]`.
fn special(text: &[u8], kind: u8) -> Option<(&[u8], usize)> {
    let inner = text.strip_prefix(b"[")?.strip_prefix(&[kind])?;
    let end = inner.windows(2).position(|two| two == [kind, b']'])?;
    Some((inner.get(..end)?, end + 4))
}

fn in_range(low: u8, high: u8, byte: u8, flags: Flags) -> bool {
    let within = |byte: u8| (flags.fold(low)..=flags.fold(high)).contains(&byte);
    within(flags.fold(byte))
}

/// Classes know no folding: `[[:upper:]]` stays an upper-case letter, as in the C library.
fn in_class(name: &[u8], byte: u8) -> bool {
    match name {
        b"alpha" => byte.is_ascii_alphabetic(),
        b"digit" => byte.is_ascii_digit(),
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"upper" => byte.is_ascii_uppercase(),
        b"lower" => byte.is_ascii_lowercase(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"blank" => byte == b' ' || byte == b'\t',
        b"punct" => byte.is_ascii_punctuation(),
        b"print" => byte == b' ' || byte.is_ascii_graphic(),
        b"graph" => byte.is_ascii_graphic(),
        b"cntrl" => byte.is_ascii_control(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => false,
    }
}
