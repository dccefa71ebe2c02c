//! The corpora of the fuzz targets, replayed: what a fuzzer found once is found again without one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../../fuzz/cases/control.rs"]
mod control;
#[path = "../../fuzz/cases/dns.rs"]
mod dns;
#[path = "../../fuzz/cases/http_body.rs"]
mod http_body;
#[path = "../../fuzz/cases/http_head.rs"]
mod http_head;
#[path = "../../fuzz/cases/http_url.rs"]
mod http_url;
#[path = "../../fuzz/cases/proxy.rs"]
mod proxy;
#[path = "../../fuzz/cases/rules.rs"]
mod rules;

use std::fs;
use std::path::Path;

/// What a target does with an input; it must not panic.
type Run = fn(&[u8]);

const CASES: [(&str, Run); 7] = [
    ("control", control::run),
    ("dns", dns::run),
    ("http_body", http_body::run),
    ("http_head", http_head::run),
    ("http_url", http_url::run),
    ("proxy", proxy::run),
    ("rules", rules::run),
];

#[test]
fn every_committed_input_still_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for (name, run) in CASES {
        let directory = fuzz.join("corpus").join(name);
        let mut inputs = 0;
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            let bytes = fs::read(&path).unwrap();
            run(&bytes);
            // What a peer sends may end anywhere.
            for end in 0..bytes.len().min(600) {
                run(&bytes[..end]);
            }
            inputs += 1;
        }
        assert!(inputs >= 5, "{name} has {inputs} inputs only");
    }
}

#[test]
fn every_case_has_its_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for entry in fs::read_dir(fuzz.join("cases")).unwrap() {
        let name = entry.unwrap().path();
        let name = name.file_stem().unwrap().to_str().unwrap();
        assert!(CASES.iter().any(|c| c.0 == name), "{name} is not replayed");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
