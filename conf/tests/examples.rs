//! Every file of conf/examples is a good configuration, without a warning.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;

#[test]
fn examples_are_accepted_without_a_warning() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        let loaded = conf::load(
            Path::new(&name),
            &[],
            &support::Directory::new("examples"),
            &support::System,
        );
        let messages: Vec<_> = loaded
            .diagnostics
            .list()
            .iter()
            .map(|d| d.render(&loaded.sources, false))
            .collect();
        assert!(messages.is_empty(), "{}", messages.join("\n"));
        assert!(loaded.config.is_some());
    }
}
