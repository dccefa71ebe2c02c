//! Lua-style patterns for filter rules (`pattern` keyword, extension).
//! Owns their matching: classes, sets, `* + - ?`, anchors, `%b`, `%f`; captures only group.
//! Must never take more than [`conf::limits::PATTERN_STEPS_MAX`] steps: then there is no match.

use conf::limits::PATTERN_STEPS_MAX;

/// Whether `pattern` is found in `text` (anchors `^` and `$` bind it). Unbalanced or endless patterns do not match.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut search = Search {
        text,
        steps: PATTERN_STEPS_MAX,
    };
    match pattern.strip_prefix(b"^") {
        Some(rest) => search.here(rest, 0, 0),
        None => (0..=text.len()).any(|start| search.here(pattern, start, 0)),
    }
}

struct Search<'a> {
    text: &'a [u8],
    steps: u32,
}

/// Deepest recursion.
const DEPTH_MAX: u32 = 200;

impl Search<'_> {
    fn here(&mut self, mut pattern: &[u8], mut at: usize, depth: u32) -> bool {
        if depth > DEPTH_MAX {
            return false;
        }
        loop {
            let Some(steps) = self.steps.checked_sub(1) else {
                return false;
            };
            self.steps = steps;
            match pattern {
                [] => return true,
                [b'$'] => return at == self.text.len(),
                // Captures only group; what they hold is of no use to a rule.
                [b'(' | b')', rest @ ..] => pattern = rest,
                [b'%', b'b', open, close, rest @ ..] => match self.balanced(at, *open, *close) {
                    Some(end) => (pattern, at) = (rest, end),
                    None => return false,
                },
                [b'%', b'f', rest @ ..] => {
                    let Some((set, rest)) = item(rest) else {
                        return false;
                    };
                    let before = at.checked_sub(1).map_or(0, |i| self.byte(i).unwrap_or(0));
                    let after = self.byte(at).unwrap_or(0);
                    if single(set, before) || !single(set, after) {
                        return false;
                    }
                    pattern = rest;
                }
                _ => {
                    let Some((one, rest)) = item(pattern) else {
                        return false;
                    };
                    match rest.first() {
                        Some(b'*') => return self.most(one, tail(rest), at, 0, depth),
                        Some(b'+') => return self.most(one, tail(rest), at, 1, depth),
                        Some(b'-') => return self.least(one, tail(rest), at, depth),
                        Some(b'?') => {
                            if self.fits(one, at) && self.here(tail(rest), at + 1, depth + 1) {
                                return true;
                            }
                            pattern = tail(rest);
                        }
                        _ if self.fits(one, at) => (pattern, at) = (rest, at + 1),
                        _ => return false,
                    }
                }
            }
        }
    }

    fn most(&mut self, one: &[u8], rest: &[u8], at: usize, least: usize, depth: u32) -> bool {
        let mut count = 0;
        while self.fits(one, at + count) {
            count += 1;
        }
        self.steps = self.steps.saturating_sub(count as u32);
        while count >= least {
            if self.here(rest, at + count, depth + 1) {
                return true;
            }
            match count.checked_sub(1) {
                Some(less) if self.steps > 0 => count = less,
                _ => return false,
            }
        }
        false
    }

    fn least(&mut self, one: &[u8], rest: &[u8], mut at: usize, depth: u32) -> bool {
        loop {
            if self.here(rest, at, depth + 1) {
                return true;
            }
            if self.steps == 0 || !self.fits(one, at) {
                return false;
            }
            at += 1;
        }
    }

    fn balanced(&self, at: usize, open: u8, close: u8) -> Option<usize> {
        if self.byte(at) != Some(open) {
            return None;
        }
        let mut depth = 1_usize;
        for (offset, byte) in self.text.get(at + 1..)?.iter().enumerate() {
            if *byte == close {
                depth -= 1;
                if depth == 0 {
                    return Some(at + offset + 2);
                }
            } else if *byte == open {
                depth += 1;
            }
        }
        None
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn fits(&self, one: &[u8], at: usize) -> bool {
        self.byte(at).is_some_and(|byte| single(one, byte))
    }
}

fn tail(pattern: &[u8]) -> &[u8] {
    pattern.get(1..).unwrap_or_default()
}

/// Splits the first single-character item off a pattern.
fn item(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    match pattern {
        [] => None,
        [b'%'] => None,
        [b'%', _, ..] => pattern.split_at_checked(2),
        [b'[', ..] => {
            let mut end = if pattern.get(1) == Some(&b'^') { 2 } else { 1 };
            // A `]` that comes first belongs to the set.
            let mut first = true;
            loop {
                match pattern.get(end)? {
                    b']' if !first => return pattern.split_at_checked(end + 1),
                    b'%' => end += 2,
                    _ => end += 1,
                }
                first = false;
            }
        }
        _ => pattern.split_at_checked(1),
    }
}

fn single(one: &[u8], byte: u8) -> bool {
    match one {
        [b'.'] => true,
        [b'%', class] => in_class(*class, byte),
        [b'[', b'^', set @ .., b']'] => !in_set(set, byte),
        [b'[', set @ .., b']'] => in_set(set, byte),
        [literal] => *literal == byte,
        _ => false,
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    loop {
        set = match set {
            [] => return false,
            [b'%', class, ..] if in_class(*class, byte) => return true,
            [b'%', _, rest @ ..] => rest,
            [from, b'-', to, rest @ ..] => {
                if (*from..=*to).contains(&byte) {
                    return true;
                }
                rest
            }
            [literal, rest @ ..] => {
                if *literal == byte {
                    return true;
                }
                rest
            }
        };
    }
}

fn in_class(class: u8, byte: u8) -> bool {
    let inside = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        _ => return class == byte,
    };
    inside != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::matches;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_lua() {
        for (pattern, text, expected) in [
            ("abc", "xabcx", true),
            ("^abc$", "abc", true),
            ("^abc$", "abcd", false),
            ("^/%d+/", "/42/x", true),
            ("^/%d+/", "//x", false),
            ("[%w_]+@[^.]+%.com$", "me@host.com", true),
            ("^[a-c]*$", "abcabc", true),
            ("^[^a-c]*$", "abcabc", false),
            ("a.-b", "a123b", true),
            ("colou?r", "color", true),
            ("^(ab)$", "ab", true),
            ("%b()", "f(a(b)c)", true),
            ("^%b()$", "(a(b)", false),
            ("%f[%w]the%f[%W]", "in the end", true),
            ("%f[%w]the%f[%W]", "bathed", false),
            ("%%", "100%", true),
            ("[]]", "]", true),
            ("%S", " ", false),
            ("[", "[", false),
            ("%", "%", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn endless_patterns_end() {
        let text = "a".repeat(5000);
        assert!(!matches(b"a*a*a*a*a*a*a*a*a*a*b", text.as_bytes()));
    }

    proptest! {
        #[test]
        fn anything_is_survived(pattern in "[-a-c%\\[\\]().*+?^$bf]{0,20}", text in "[a-c()]{0,20}") {
            let _ = matches(pattern.as_bytes(), text.as_bytes());
        }
    }
}
