//! Targets and the look-up list of `url` rules: bounded, lower-case, and of the host asked for.

use protocols::http::{Candidates, split_target};
use protocols::{glob, pattern};

/// One input: host, pattern and request target, each but the last ended by a newline.
pub fn run(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (host, wanted, target) = (next(), next(), next());
    let (authority, path, query) = split_target(target);
    assert!(authority.is_some() || path.len() + query.map_or(0, |q| q.len() + 1) == target.len());
    let mut candidates = Candidates::default();
    if candidates.collect(host, path, query).is_ok() {
        let list: Vec<&[u8]> = candidates.iter().collect();
        assert!((1..=30).contains(&list.len()));
        assert!(list.iter().all(|c| !c.iter().any(u8::is_ascii_uppercase)));
    }
    let _ = pattern::matches(wanted, path);
    let _ = glob::matches(wanted, path, glob::Flags::CASE_FOLD);
}
