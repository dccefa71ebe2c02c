//! The old documents' configurations: accepted as they were written, and rewritten to today's form.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use support::{Directory, Everywhere, lines, round_trip};

/// Files with a slip of their author: what the first error names. Each has a corrected companion.
const SLIPS: &[(&str, &str)] = &[
    ("000-d.conf", "no actions, nothing to do"),
    ("000-h.conf", "000-h.conf:10: unknown table dns_servers"),
    ("001-3.conf", "001-3.conf:13: unknown port box2_port"),
    ("001-5.conf", "001-5.conf:5: invalid host 192.168.1.333"),
];

fn names(directory: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".conf"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_seed_is_accepted_as_written_and_its_modern_form_means_the_same() {
    let names = names("tests/seeds");
    assert_eq!(names.len(), 19);
    for name in &names {
        let loaded = conf::load(
            Path::new(name),
            &[],
            &Directory::new("tests/seeds"),
            &Everywhere,
        );
        let messages = lines(&loaded);
        if let Some((_, slip)) = SLIPS.iter().find(|(n, _)| n == name) {
            let first = messages
                .iter()
                .find(|m| !m.contains("warning: "))
                .expect("an error");
            assert_eq!(first, slip);
            assert!(loaded.config.is_none());
            let corrected = name.replace(".conf", ".corrected.conf");
            assert!(names.contains(&corrected), "{corrected}");
            continue;
        }
        assert!(
            messages.iter().all(|m| m.contains("warning: ")),
            "{name}: {messages:#?}"
        );
        round_trip(&loaded.config.expect("accepted"), name);
    }
}

#[test]
fn the_slips_cures_name_the_slip() {
    for (name, cure) in [
        ("001-3.conf", "did you mean $box2_port?"),
        ("001-5.conf", "'333' is no part of an IPv4 address"),
        ("001-5.conf", "'300' is no part of an IPv4 address"),
        ("000-h.conf", "define it before: table <dns_servers>"),
    ] {
        let loaded = conf::load(
            Path::new(name),
            &[],
            &Directory::new("tests/seeds"),
            &Everywhere,
        );
        let found = loaded
            .diagnostics
            .list()
            .iter()
            .any(|d| d.cure.as_deref().is_some_and(|c| c.contains(cure)));
        assert!(found, "{name}: {:#?}", loaded.diagnostics);
    }
}

#[test]
fn the_table_of_seeds_lists_each_of_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/seeds.md");
    let table = std::fs::read_to_string(path).unwrap();
    for name in names("tests/seeds") {
        let row = format!("`{}`", name.trim_end_matches(".conf"));
        assert!(table.contains(&row), "docs/seeds.md has no {row}");
    }
}

#[test]
fn every_accepted_oracle_case_survives_being_rewritten() {
    for name in names("tests/oracle") {
        let loaded = conf::load(
            Path::new(&name),
            &[],
            &Directory::new("tests/oracle"),
            &Everywhere,
        );
        if let Some(config) = loaded.config {
            let text = conf::dump(&config);
            let again = conf::load(Path::new("x"), &[], &support::Text(&text), &Everywhere);
            assert_eq!(
                again.config.clone().map(support::placeless),
                Some(support::placeless(config)),
                "{name}:\n{text}\n{:#?}",
                lines(&again)
            );
        }
    }
}
