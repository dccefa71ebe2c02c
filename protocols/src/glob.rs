//! Shell globs as fnmatch(3) understands them: `check … expect` and the values of filter rules.
//! Owns the matcher for bytes in the C locale, with every POSIX and GNU flag.
//! Must never take more than pattern × text steps: both may come from outside.

mod bracket;

/// What fnmatch(3) calls flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `FNM_NOESCAPE`: a backslash is an ordinary character.
    pub no_escape: bool,
    /// `FNM_PATHNAME`: only a slash in the pattern matches a slash.
    pub pathname: bool,
    /// `FNM_PERIOD`: only a period in the pattern matches a leading period.
    pub period: bool,
    /// `FNM_LEADING_DIR`: the rest of the text after a slash is ignored.
    pub leading_dir: bool,
    /// `FNM_CASEFOLD`: ASCII letters of either case are equal.
    pub case_fold: bool,
}

impl Flags {
    /// No flag at all.
    pub const NONE: Flags = Flags {
        no_escape: false,
        pathname: false,
        period: false,
        leading_dir: false,
        case_fold: false,
    };
    /// Only `FNM_CASEFOLD`.
    pub const CASE_FOLD: Flags = Flags {
        case_fold: true,
        ..Flags::NONE
    };

    fn fold(self, byte: u8) -> u8 {
        if self.case_fold {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    }
}

/// Whether `text` as a whole matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8], flags: Flags) -> bool {
    let mut at = Position::default();
    // Where to go on when the rest does not match: one more byte for the last star. Earlier stars need no second
    // try: what stands between two stars is best matched as early as possible.
    let mut star: Option<Position> = None;
    loop {
        let advanced = if at.pattern == pattern.len() {
            if ends(text, at.text, flags) {
                return true;
            }
            false
        } else if pattern.get(at.pattern) == Some(&b'*') {
            if period_forbids(text, at.text, flags) {
                return false;
            }
            at.pattern += 1;
            star = Some(at);
            true
        } else {
            step(pattern, text, &mut at, flags)
        };
        if advanced {
            continue;
        }
        match &mut star {
            Some(retry) if swallows(text, retry.text, flags) => {
                retry.text += 1;
                at = *retry;
            }
            _ => return false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    pattern: usize,
    text: usize,
}

/// Whether the text may end here.
fn ends(text: &[u8], at: usize, flags: Flags) -> bool {
    at == text.len() || (flags.leading_dir && text.get(at) == Some(&b'/'))
}

/// Whether a star may take the byte at `at`.
fn swallows(text: &[u8], at: usize, flags: Flags) -> bool {
    text.get(at)
        .is_some_and(|byte| !(flags.pathname && *byte == b'/'))
}

/// Whether the byte at `at` is a leading period that must stand in the pattern.
fn period_forbids(text: &[u8], at: usize, flags: Flags) -> bool {
    if !flags.period || text.get(at) != Some(&b'.') {
        return false;
    }
    match at.checked_sub(1) {
        None => true,
        Some(before) => flags.pathname && text.get(before) == Some(&b'/'),
    }
}

/// Matches one element other than `*` and moves behind it.
fn step(pattern: &[u8], text: &[u8], at: &mut Position, flags: Flags) -> bool {
    let Some(byte) = text.get(at.text).copied() else {
        return false;
    };
    let Some((element, rest)) = pattern.get(at.pattern..).and_then(<[u8]>::split_first) else {
        return false;
    };
    let slash = flags.pathname && byte == b'/';
    let wild = !slash && !period_forbids(text, at.text, flags);
    let (matched, length) = match element {
        b'?' => (wild, 1),
        b'[' => match bracket::matches(rest, byte, flags) {
            Some(bracket) => (wild && bracket.matched, 1 + bracket.length),
            None => (byte == b'[', 1),
        },
        b'\\' if !flags.no_escape => match rest.first() {
            Some(escaped) => (flags.fold(*escaped) == flags.fold(byte), 2),
            None => (false, 1),
        },
        other => (flags.fold(*other) == flags.fold(byte), 1),
    };
    if matched {
        at.pattern += length;
        at.text += 1;
    }
    matched
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plain(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes(), Flags::NONE)
    }

    #[test]
    fn stars_and_marks() {
        assert!(plain("", ""));
        assert!(plain("*", ""));
        assert!(plain("220 *", "220 mail.example.org ESMTP\r\n"));
        assert!(!plain("220", "220 mail"));
        assert!(plain("a*b*c", "aXbYbZc"));
        assert!(!plain("a*b*c", "aXbYbZ"));
        assert!(plain("?x?", "axb"));
        assert!(!plain("?", ""));
    }

    #[test]
    fn brackets_and_escapes() {
        assert!(plain("[a-c]1", "b1"));
        assert!(!plain("[!a-c]1", "b1"));
        assert!(plain("[]]", "]"));
        assert!(plain("[[:digit:]]*", "7up"));
        assert!(!plain("[[:digit:]]", "x"));
        assert!(plain("\\*", "*"));
        assert!(!plain("\\*", "x"));
        assert!(plain("[abc", "[abc"));
        assert!(!plain("\\", "\\"));
    }

    #[test]
    fn flags_change_what_matches() {
        let all = |f: &dyn Fn(&mut Flags)| {
            let mut flags = Flags::NONE;
            f(&mut flags);
            flags
        };
        let path = all(&|f| f.pathname = true);
        assert!(!matches(b"*", b"a/b", path));
        assert!(matches(b"*/b", b"a/b", path));
        assert!(!matches(b"a[/]b", b"a/b", path));
        let period = all(&|f| f.period = true);
        assert!(!matches(b"*", b".x", period));
        assert!(matches(b".*", b".x", period));
        let lead = all(&|f| f.leading_dir = true);
        assert!(matches(b"a", b"a/b/c", lead));
        assert!(matches(b"AbC", b"aBc", Flags::CASE_FOLD));
        let raw = all(&|f| f.no_escape = true);
        assert!(matches(b"\\*", b"\\x", raw));
    }

    #[test]
    fn hostile_pattern_takes_pattern_times_text_steps() {
        let pattern = "a*".repeat(120) + "b";
        let text = "a".repeat(60_000);
        assert!(!matches(pattern.as_bytes(), text.as_bytes(), Flags::NONE));
    }
}
