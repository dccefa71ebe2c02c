//! The filter actions of relayd 5.5 and before: `expect`, `filter`, `mark`, `append`, `change` …
//! Owns their meaning, which no sequence of today's rules has: `expect` is OR within a key and AND between keys.
//! Must never depend on the order in the file: the old rules had none.

use super::compile::{Compiled, Name, Ruleset, Test};
use super::evaluate::{Memory, Subject, Verdict, Work, applies, drain, forget, matches, note};
use crate::http::Refusal;
use conf::model::{Digest, KeyKind, KeyOp, Legacy};

/// Old actions of one direction, in the order in which they take effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Old {
    /// Actions that set a mark.
    marks: Vec<Compiled>,
    filters: Vec<Compiled>,
    /// Alternatives, by key.
    expects: Vec<Vec<Compiled>>,
    changes: Vec<Compiled>,
}

impl Old {
    pub(super) fn new(rules: Vec<Compiled>) -> Old {
        let mut old = Old::default();
        for rule in rules {
            match &rule.legacy {
                Some(Legacy::Filter) => old.filters.push(rule),
                Some(Legacy::Expect) => old.expect(rule),
                _ if rule.tag.is_some() => old.marks.push(rule),
                _ => old.changes.push(rule),
            }
        }
        old
    }

    fn expect(&mut self, rule: Compiled) {
        let group = self
            .expects
            .iter_mut()
            .find(|group| group.first().map(identity) == Some(identity(&rule)));
        match group {
            Some(group) => group.push(rule),
            None => self.expects.push(vec![rule]),
        }
    }

    pub(super) fn needs_urls(&self) -> bool {
        let parts = [&self.marks, &self.filters, &self.changes];
        parts
            .into_iter()
            .chain(&self.expects)
            .flatten()
            .any(|rule| rule.keys.iter().any(|key| key.kind == KeyKind::Url))
    }

    pub(super) fn evaluate(
        &self,
        set: &Ruleset,
        subject: &Subject<'_>,
        memory: &mut Memory,
        work: &mut Work,
    ) -> Result<Verdict, Refusal> {
        let tag = memory.tag;
        for (number, rule) in self.marks.iter().enumerate() {
            if applies(rule, subject, tag) && matches(rule, number, subject, work)? {
                note(rule, memory, work);
            }
            drain(&self.marks, set, subject, *memory, work);
        }
        for (number, rule) in self.filters.iter().enumerate() {
            let hit = applies(rule, subject, memory.tag) && matches(rule, number, subject, work)?;
            forget(work);
            if hit {
                note(rule, memory, work);
                return Ok(Verdict::Block);
            }
        }
        for group in &self.expects {
            if !self.expected(group, subject, memory, work)? {
                return Ok(Verdict::Block);
            }
        }
        for (number, rule) in self.changes.iter().enumerate() {
            if applies(rule, subject, memory.tag) && matches(rule, number, subject, work)? {
                drain(&self.changes, set, subject, *memory, work);
            }
            forget(work);
        }
        Ok(Verdict::Pass)
    }

    /// One of the alternatives holds, or none of them concerns this message.
    fn expected(
        &self,
        group: &[Compiled],
        subject: &Subject<'_>,
        memory: &mut Memory,
        work: &mut Work,
    ) -> Result<bool, Refusal> {
        let mut concerned = None;
        for (number, rule) in group.iter().enumerate() {
            if !applies(rule, subject, memory.tag) {
                continue;
            }
            if concerned.is_none() && repeated(rule, subject) {
                return Err(Refusal::MALFORMED_HEADER);
            }
            concerned = Some(rule);
            let hit = matches(rule, number, subject, work)?;
            forget(work);
            if hit {
                return Ok(true);
            }
        }
        if let Some(rule) = concerned {
            note(rule, memory, work);
        }
        Ok(concerned.is_none())
    }
}

/// What makes two `expect` alternatives of each other.
fn identity(rule: &Compiled) -> Option<(KeyKind, Vec<u8>)> {
    let key = rule.keys.iter().find(|key| key.op == KeyOp::Test)?;
    let name = match &key.name {
        // All expected addresses, and all expected paths, are alternatives: a message has one.
        Name::One { .. } if matches!(key.kind, KeyKind::Url | KeyKind::Path) => Vec::new(),
        Name::One { text, .. } => text.to_ascii_lowercase().into_bytes(),
        Name::Digest(Digest::Sha1(_) | Digest::Md5(_)) | Name::Any | Name::List(_) => Vec::new(),
    };
    Some((key.kind, name))
}

/// A field that is expected may stand only once.
fn repeated(rule: &Compiled, subject: &Subject<'_>) -> bool {
    let named = |key: &&Test| key.kind == KeyKind::Header && key.op == KeyOp::Test;
    let Some(Name::One { text, .. }) = rule.keys.iter().find(named).map(|key| &key.name) else {
        return false;
    };
    let fields = &subject.head.fields;
    let same = fields.iter().filter(|f| {
        f.name
            .of(subject.bytes)
            .eq_ignore_ascii_case(text.as_bytes())
    });
    same.count() > 1
}
