//! Facts about the repository itself: who depends on whom, licences, documents.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use figment::Figment;
use figment::providers::{Format, Toml};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Normal (not development) dependencies of every package in the graph, by id.
fn graph(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let normal = node["deps"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dep| {
                    dep["dep_kinds"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|kind| kind["kind"].is_null())
                })
                .map(|dep| dep["pkg"].as_str().unwrap().to_owned())
                .collect();
            (node["id"].as_str().unwrap().to_owned(), normal)
        })
        .collect()
}

fn names(metadata: &Value) -> BTreeMap<String, String> {
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            (
                p["id"].as_str().unwrap().to_owned(),
                p["name"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

/// Everything a workspace crate is built from, directly or not.
fn closure(metadata: &Value, package: &str) -> BTreeSet<String> {
    let (graph, names) = (graph(metadata), names(metadata));
    let start = names.iter().find(|(_, name)| *name == package).unwrap().0;
    let mut seen = BTreeSet::new();
    let mut todo = vec![start.clone()];
    while let Some(id) = todo.pop() {
        for dep in graph.get(&id).into_iter().flatten() {
            if seen.insert(dep.clone()) {
                todo.push(dep.clone());
            }
        }
    }
    seen.into_iter().map(|id| names[&id].clone()).collect()
}

#[test]
fn crates_depend_downwards_only() {
    let metadata = metadata();
    let order = [
        "relayd-conf",
        "relayd-protocols",
        "relayd-backends",
        "relayd-actors",
        "relayd",
    ];
    for (level, package) in order.iter().enumerate() {
        let below = closure(&metadata, package);
        for above in &order[level..] {
            assert!(!below.contains(*above), "{package} depends on {above}");
        }
    }
}

#[test]
fn the_pure_crates_touch_no_clock_socket_or_randomness() {
    let metadata = metadata();
    let effects = [
        "tokio",
        "mio",
        "socket2",
        "nix",
        "actix",
        "rand",
        "getrandom",
        "tracing",
        "log",
        "time",
        "chrono",
    ];
    for package in ["relayd-conf", "relayd-protocols"] {
        let below = closure(&metadata, package);
        for effect in effects {
            assert!(!below.contains(effect), "{package} depends on {effect}");
        }
    }
}

/// Source files of a directory, below it too.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_pure_crates_do_not_ask_the_standard_library_for_effects() {
    let forbidden = [
        "std::fs",
        "std::thread",
        "std::process",
        "Instant::now",
        "SystemTime::now",
        "TcpStream",
        "UdpSocket",
        "println!",
        "eprintln!",
    ];
    let mut files = Vec::new();
    sources(&root().join("conf/src"), &mut files);
    sources(&root().join("protocols/src"), &mut files);
    assert!(files.len() > 10);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // Tests at the end of a file may read examples.
        let code = text.split("#[cfg(test)]").next().unwrap();
        if file.file_name().is_some_and(|n| n == "tests.rs") {
            continue;
        }
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for word in forbidden {
                assert!(
                    !line.contains(word),
                    "{}: {word} in: {line}",
                    file.strip_prefix(root()).unwrap().display()
                );
            }
        }
    }
}

fn policy() -> Value {
    Figment::from(Toml::file(root().join("deny.toml")))
        .extract()
        .unwrap()
}

/// Whether an SPDX expression can be met by allowed licences alone.
fn permitted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    // Nobody here nests deeper than AND of ORs with parentheses; judging every AND part by its ORs is exact for both.
    plain.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|licence| allowed.contains(licence.trim()))
    })
}

#[test]
fn licences_are_permissive() {
    let policy = policy();
    let allowed: BTreeSet<String> = policy["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect();
    let metadata = metadata();
    let mut bad = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none");
        if !permitted(licence, &allowed) {
            bad.push(format!("{}: {licence}", package["name"]));
        }
    }
    assert!(bad.is_empty(), "not in deny.toml's list: {bad:#?}");
    assert!(!permitted("GPL-3.0-only", &allowed));
    assert!(!permitted("MIT AND GPL-2.0", &allowed));
    assert!(permitted("GPL-2.0 OR MIT", &allowed));
}

#[test]
fn banned_crates_are_absent() {
    let policy = policy();
    let names: BTreeSet<String> = names(&metadata()).into_values().collect();
    for ban in policy["bans"]["deny"].as_array().unwrap() {
        let name = ban["name"].as_str().unwrap();
        assert!(!names.contains(name), "{name}: {}", ban["reason"]);
    }
}

#[test]
fn every_dependency_is_a_written_decision() {
    let manifest: Value = Figment::from(Toml::file(root().join("Cargo.toml")))
        .extract()
        .unwrap();
    let text = std::fs::read_to_string(root().join("docs/decisions/dependencies.md")).unwrap();
    for (name, value) in manifest["workspace"]["dependencies"].as_object().unwrap() {
        if value["path"].is_string() {
            continue;
        }
        assert!(
            text.contains(&format!("| `{name}` |")),
            "docs/decisions/dependencies.md says nothing about {name}"
        );
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "COMPAT.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .iter()
    .map(|name| root().join(name))
    .collect();
    for directory in ["docs", "docs/decisions"] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap().flatten() {
            if entry.path().extension().is_some_and(|e| e == "md") {
                documents.push(entry.path());
            }
        }
    }
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            assert!(
                document.parent().unwrap().join(file).exists(),
                "{}: {target} does not exist",
                document.display()
            );
        }
    }
}

#[test]
fn the_readme_shows_how_to_begin() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    for command in ["make demo", "make test"] {
        assert!(text.contains(command), "README.md does not show {command}");
    }
}
