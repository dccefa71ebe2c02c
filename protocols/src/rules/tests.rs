#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod actions;
mod conditions;
mod legacy;
mod property;

use super::*;
use crate::http::{Head, Refusal};
use conf::model::{
    Action, Change, Digest, Direction, Family, Key, KeyKind, KeyOp, Legacy, Pattern, Rule,
};
use proptest::prelude::*;

/// A rule in a few words: `action`, then changes.
fn rule(action: Action, change: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = Rule {
        line: 1,
        action,
        direction: Direction::Request,
        quick: false,
        family: None,
        from: None,
        to: None,
        method: None,
        keys: Vec::new(),
        strip: None,
        forward: None,
        tag: Change::Keep,
        tagged: None,
        label: Change::Keep,
        legacy: None,
    };
    change(&mut rule);
    rule
}

fn key(kind: KeyKind, op: KeyOp, name: &str, value: Option<&str>) -> Key {
    Key {
        kind,
        op,
        pattern: Pattern::One(name.to_owned()),
        value: value.map(str::to_owned),
        lua: false,
    }
}

fn keyed(action: Action, kind: KeyKind, op: KeyOp, name: &str, value: Option<&str>) -> Rule {
    rule(action, |r| r.keys.push(key(kind, op, name, value)))
}

fn file(kind: KeyKind, op: KeyOp, keys: &[&str], value: Option<&str>) -> Key {
    Key {
        pattern: Pattern::File {
            path: "f".into(),
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
        },
        ..key(kind, op, "", value)
    }
}

fn quick(mut rule: Rule) -> Rule {
    rule.quick = true;
    rule
}

fn response(mut rule: Rule) -> Rule {
    rule.direction = Direction::Response;
    rule
}

use Action::{Block, Match, Pass};
use KeyKind::{Cookie, Header, Path, Query, Url};
use KeyOp::{Append, Hash, Log, Remove, Set, Test};

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdict: Result<Verdict, Refusal>,
    head: String,
    log: String,
    hash: Vec<u8>,
    forward: Option<String>,
    tag: Option<String>,
    label: Option<String>,
}

impl Outcome {
    fn passed(&self) -> bool {
        self.verdict == Ok(Verdict::Pass)
    }
}

struct Relay {
    set: Ruleset,
    memory: Memory,
    work: Work,
}

impl Relay {
    fn new(rules: &[Rule]) -> Relay {
        let mut work = Work::default();
        work.wants_log = true;
        Relay {
            set: Ruleset::compile(rules),
            memory: Memory::default(),
            work,
        }
    }

    fn message(&mut self, wire: &str) -> Outcome {
        self.message_from(wire, "192.0.2.7:5555")
    }

    fn message_from(&mut self, wire: &str, peer: &str) -> Outcome {
        let wire = wire.replace('|', "\r\n");
        let bytes = wire.as_bytes();
        let mut head = Head::default();
        if wire.starts_with("HTTP/") {
            head.parse_response(bytes, 8192).unwrap();
        } else {
            head.parse_request(bytes, 8192).unwrap();
        }
        let subject = Subject::new(
            &head,
            bytes,
            peer.parse().unwrap(),
            None,
            "192.0.2.1".parse().unwrap(),
            "192.0.2.1:80".parse().unwrap(),
            600,
        );
        let verdict = self
            .set
            .evaluate(&subject, &mut self.memory, &mut self.work);
        let mut out = Vec::new();
        self.work.edits.render(&head, bytes, &mut out);
        let forward = self
            .work
            .forward
            .map(|id| self.set.tables()[usize::from(id) - 1].clone());
        Outcome {
            verdict,
            head: String::from_utf8(out).unwrap().replace("\r\n", "|"),
            log: self.work.log.clone(),
            hash: self.work.hash.clone(),
            forward,
            tag: self.set.tag(self.memory.tag).map(str::to_owned),
            label: self.set.label(self.memory.label).map(str::to_owned),
        }
    }
}

fn judge(rules: &[Rule], wire: &str) -> Outcome {
    Relay::new(rules).message(wire)
}

const GET: &str = "GET /a/b?x=1&y=Two HTTP/1.1|Host: www.example.com|Cookie: sid=\"7\"; theme=Dark|X-Test: yes|x-test: no||";
