//! The manual knows every keyword.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use conf::keywords::{EXTENSIONS, KEYWORDS};

#[test]
fn relayd_conf_5_mentions_every_keyword() {
    let manual = include_str!("../../man/relayd.conf.5");
    // Only words marked as commands (Cm) count: prose proves nothing.
    let words: std::collections::HashSet<&str> = manual
        .lines()
        .filter(|l| l.contains("Cm "))
        .flat_map(|l| l.split([' ', ',', '"']))
        .collect();
    let missing: Vec<_> = KEYWORDS
        .iter()
        .chain(EXTENSIONS)
        .filter(|k| !words.contains(**k))
        .collect();
    assert!(missing.is_empty(), "not in man/relayd.conf.5: {missing:?}");
}
