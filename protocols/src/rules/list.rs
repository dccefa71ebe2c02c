//! Keys from a file.
//! Owns their look-up: one hash access for the whole file; only lines with wildcards are compared one by one.
//! Must never cost more for a longer file, as long as its lines are plain.

use super::text::Matcher;
use std::collections::HashMap;

/// The keys of a file, by line.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    lines: Vec<Box<str>>,
    /// First line of each plain key, lower-case.
    plain: HashMap<Box<[u8]>, u32>,
    /// Plain keys compare with regard to case.
    exact_case: bool,
    globs: Vec<(u32, Matcher)>,
}

impl List {
    pub(super) fn new(keys: &[String], matcher: impl Fn(&str) -> Matcher) -> List {
        let mut list = List::default();
        for (number, key) in (0..).zip(keys) {
            list.lines.push(key.as_str().into());
            let matcher = matcher(key);
            if let Some(text) = matcher.literal() {
                list.exact_case = true;
                list.plain.entry(text.into()).or_insert(number);
            } else if matcher.is_plain() {
                let lower = key.to_ascii_lowercase().into_bytes();
                list.plain.entry(lower.into()).or_insert(number);
            } else {
                list.globs.push((number, matcher));
            }
        }
        list
    }

    /// Text of a line.
    pub(super) fn line(&self, number: u32) -> &str {
        self.lines
            .get(number as usize)
            .map(|line| &**line)
            .unwrap_or_default()
    }

    /// First line that matches a name; `spare` is working memory.
    pub(super) fn find(&self, name: &[u8], spare: &mut Vec<u8>) -> Option<u32> {
        let plain = if self.exact_case {
            self.plain.get(name)
        } else {
            spare.clear();
            spare.extend_from_slice(name);
            spare.make_ascii_lowercase();
            self.plain.get(spare.as_slice())
        };
        let glob = self
            .globs
            .iter()
            .find(|(_, matcher)| matcher.matches(name))
            .map(|(number, _)| *number);
        match (plain.copied(), glob) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}
