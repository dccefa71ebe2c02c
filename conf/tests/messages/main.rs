//! Every message of the original's parser, where the same mistake is made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod mistakes;
mod protocols;
#[path = "../support/mod.rs"]
mod support;
mod warnings;

use mistakes::*;
use std::path::Path;
use support::{System, Text, lines};

#[test]
fn each_mistake_gets_the_words_of_the_original() {
    let cases = mistakes();
    let mut wrong = Vec::new();
    for (text, message) in &cases {
        let loaded = conf::load(Path::new("f"), &[], &OneFile(text), &System);
        let all: Vec<String> = loaded
            .diagnostics
            .list()
            .iter()
            .filter(|d| d.severity == conf::Severity::Error)
            .map(|d| {
                assert!(
                    d.cure.is_some() || d.text == "no actions, nothing to do",
                    "no cure: {}",
                    d.text
                );
                assert!(
                    d.span.is_some() || d.text == "no actions, nothing to do",
                    "no place: {}",
                    d.text
                );
                d.text.clone()
            })
            .collect();
        if loaded.config.is_some() || !all.contains(message) {
            let text: String = text.chars().take(200).collect();
            wrong.push(format!("{message}: got {all:?} for\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() > 120);
}

/// Only the main file exists.
struct OneFile<'a>(&'a str);

impl conf::Source for OneFile<'_> {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("f") => Ok(self.0.as_bytes().to_vec()),
            Some("keys") => Ok(b"a\nb\n".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

/// Whether a message is that of a pattern with `%s`, `%d`, `%lld`.
fn fits(pattern: &str, text: &str) -> bool {
    let pattern = pattern.replace("%lld", "%s").replace("%d", "%s");
    let mut parts = pattern.split("%s");
    let mut rest = match text.strip_prefix(parts.next().unwrap_or("")) {
        Some(rest) => rest,
        None => return false,
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

#[test]
fn every_message_of_the_table_is_said() {
    let mut files: Vec<String> = mistakes().into_iter().map(|(text, _)| text).collect();
    let tls =
        relay("forward to ::1 port 1").replace("127.0.0.1 port 1\n", "127.0.0.1 port 1 tls\n");
    files.extend([
        String::new(),
        format!("interval 1\ntimeout 5000\n{}", check("check tcp")),
        format!("m = \"x\"\nprotocol u {{ }}\n{}", relay("forward to ::1 port 1")),
        "table <t> { localhost parent 1 }\nrelay r {\nlisten on ::1 port 1\nforward to <t> port 80\n}\n".into(),
        tls.clone(),
        format!(
            "protocol p {{\ntls keypair k\n}}\n{}",
            tls.replace("forward", "protocol p\nforward")
        ),
    ]);
    let mut said: Vec<String> = Vec::new();
    for text in &files {
        let mut loaded = conf::load(Path::new("f"), &[], &OneFile(text), &System);
        loaded.check_certificates(&OneFile(text), true);
        for diagnostic in loaded.diagnostics.list() {
            let text = &diagnostic.text;
            said.push(text.clone());
            // Ours begins with a word that the original has not.
            said.extend(text.strip_prefix("warning: ").map(str::to_owned));
            // The resolver's own words are part of the cure.
            said.extend(diagnostic.cure.clone());
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/messages.md");
    let table = std::fs::read_to_string(path).unwrap();
    let (table, _) = table.split_once("## Not said").unwrap();
    let patterns: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |"))
        .collect();
    assert!(patterns.len() > 140, "{}", patterns.len());
    let missing: Vec<&&str> = patterns
        .iter()
        .filter(|pattern| !said.iter().any(|text| fits(pattern, text)))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

fn messages(text: &str) -> Vec<String> {
    lines(&conf::load(Path::new("f"), &[], &Text(text), &System))
}

#[test]
fn messages_about_the_whole_file() {
    assert_eq!(messages(""), ["no actions, nothing to do"]);
    let found = messages(&format!("interval 1\ntimeout 5000\n{}", check("check tcp")));
    assert_eq!(
        found,
        [
            "global timeout exceeds interval",
            "table timeout exceeds interval: t:80"
        ]
    );
    let found = messages(
        "table <t> { 127.0.0.1 parent 1 }\nrelay r {\nlisten on ::1 port 1\nforward to <t> port 80\n}\n",
    );
    assert_eq!(found, ["host parent id 1 invalid"]);
    let found = messages(&format!("protocol u {{ }}\n{}", check("check tcp")));
    assert_eq!(found, ["unused protocol: u"]);
}
