//! The original's verdict on 129 small configurations: same exit status, same first message.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;

/// Cases where ours differs on purpose; each is a line of COMPAT.md.
const DIFFERENT: &[(&str, &str)] = &[
    ("prefork-33", "up to 64 relay processes are allowed"),
    (
        "log-all-old",
        "older generations are accepted with a warning",
    ),
    ("snmp-old", "older generations are accepted with a warning"),
];

struct Case {
    name: String,
    exit: i32,
    first: String,
}

fn cases() -> Vec<Case> {
    let text = include_str!("oracle/verdicts.txt");
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("== ") {
            let (name, exit) = head.split_once(": exit ").unwrap();
            cases.push(Case {
                name: name.to_owned(),
                exit: exit.parse().unwrap(),
                first: String::new(),
            });
        } else if let Some(case) = cases.last_mut()
            && case.first.is_empty()
        {
            case.first = line.trim().to_owned();
        }
    }
    cases
}

#[test]
fn same_exit_status_and_first_message_as_the_original() {
    let cases = cases();
    assert_eq!(cases.len(), 129);
    let mut wrong = Vec::new();
    for case in &cases {
        let file = format!("{}.conf", case.name);
        let loaded = conf::load(
            Path::new(&file),
            &[],
            &support::Directory::new("tests/oracle"),
            &support::System,
        );
        let exit = i32::from(loaded.config.is_none());
        let first = loaded
            .diagnostics
            .list()
            .iter()
            // Advice of ours, which the original does not give.
            .find(|d| !d.text.starts_with("warning: "))
            .map_or("configuration OK".to_owned(), |d| d.line(&loaded.sources));
        let differs = DIFFERENT.iter().any(|(name, _)| *name == case.name);
        let same = exit == case.exit && first == case.first;
        if same == differs {
            wrong.push(format!(
                "{}: exit {exit} (original {}), {first:?} (original {:?})",
                case.name, case.exit, case.first
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
