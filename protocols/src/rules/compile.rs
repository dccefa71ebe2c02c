//! Rules as they are evaluated.
//! Owns the translation of a protocol's rules, done once at load.
//! Must never refuse: what the parser accepted means something.

use super::index::Index;
use super::legacy::Old;
use super::list::List;
use super::text::{Matcher, Template, is_glob};
use conf::model::{
    Action, Change, Digest, Direction, Family, Key, KeyKind, KeyOp, Legacy, Pattern, Rule,
};
use ipnetwork::IpNetwork;

/// Compiled rules of a protocol.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    pub(super) request: Program,
    pub(super) response: Program,
    names: Names,
}

/// Rules of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) rules: Vec<Compiled>,
    pub(super) index: Index,
    pub(super) old: Option<Old>,
}

/// Names that rules set and compare, by number from 1.
#[derive(Clone, Debug, Default)]
struct Names {
    tags: Vec<String>,
    labels: Vec<String>,
    tables: Vec<String>,
}

fn intern(list: &mut Vec<String>, name: &str) -> u16 {
    let position = list.iter().position(|known| known == name);
    let index = position.unwrap_or_else(|| {
        list.push(name.to_owned());
        list.len() - 1
    });
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}

fn name(list: &[String], id: u16) -> Option<&str> {
    list.get(usize::from(id).checked_sub(1)?)
        .map(String::as_str)
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) action: Action,
    pub(super) quick: bool,
    pub(super) family: Option<Family>,
    pub(super) from: Option<IpNetwork>,
    pub(super) to: Option<IpNetwork>,
    pub(super) method: Option<Box<[u8]>>,
    pub(super) tagged: Option<u16>,
    /// `None` = keep, 0 = clear.
    pub(super) tag: Option<u16>,
    pub(super) label: Option<u16>,
    pub(super) forward: Option<u16>,
    pub(super) strip: u32,
    /// In the order of evaluation.
    pub(super) keys: Vec<Test>,
    pub(super) legacy: Option<Legacy>,
}

/// One key of a rule.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub(super) kind: KeyKind,
    pub(super) op: KeyOp,
    pub(super) name: Name,
    pub(super) value: Matcher,
    pub(super) write: Template,
}

/// What a key names.
#[derive(Clone, Debug)]
pub(super) enum Name {
    /// No key.
    Any,
    /// One name, address or path; `text` as written.
    One { text: Box<str>, matcher: Matcher },
    /// A file's names.
    List(List),
    /// A digest of an address.
    Digest(Digest),
}

impl Compiled {
    /// `pass` and no more: no condition, no effect, not the last word.
    fn is_bare_pass(&self) -> bool {
        let Compiled {
            action,
            quick,
            family,
            from,
            to,
            method,
            tagged,
            tag,
            label,
            forward,
            strip,
            keys,
            legacy,
        } = self;
        let changes = tag.or(*label).or(*forward).is_some() || *strip > 0;
        let asks = family.is_some() || from.or(*to).is_some() || method.is_some();
        *action == Action::Pass
            && !(*quick || changes || asks || tagged.is_some() || legacy.is_some())
            && keys.is_empty()
    }
}

impl Ruleset {
    /// Compiles rules in file order.
    pub fn compile(rules: &[Rule]) -> Ruleset {
        let mut set = Ruleset::default();
        for rule in rules {
            for rule in split_lists(rule) {
                let compiled = set.names.rule(&rule);
                match rule.direction {
                    Direction::Request => set.request.rules.push(compiled),
                    Direction::Response => set.response.rules.push(compiled),
                }
            }
        }
        for program in [&mut set.request, &mut set.response] {
            let rules = std::mem::take(&mut program.rules);
            let (old, new): (Vec<_>, Vec<_>) = rules.into_iter().partition(|r| r.legacy.is_some());
            // At the start a bare `pass` says what silence says too.
            let new: Vec<_> = new.into_iter().skip_while(Compiled::is_bare_pass).collect();
            program.index = Index::new(&new);
            program.rules = new;
            program.old = (!old.is_empty()).then(|| Old::new(old));
        }
        set
    }

    pub(super) fn program(&self, direction: Direction) -> &Program {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    /// Whether no rule looks at messages of a direction.
    pub fn is_empty(&self, direction: Direction) -> bool {
        let program = self.program(direction);
        program.rules.is_empty() && program.old.is_none()
    }

    /// Whether a response rule may depend on, or a request rule may set, what lasts longer than one request.
    pub fn binds_connection(&self) -> bool {
        !self.names.tables.is_empty()
    }

    /// Name of a tag.
    pub fn tag(&self, id: u16) -> Option<&str> {
        name(&self.names.tags, id)
    }

    /// Text of a label.
    pub fn label(&self, id: u16) -> Option<&str> {
        name(&self.names.labels, id)
    }

    /// Tables that rules choose, in the order of their numbers from 1.
    pub fn tables(&self) -> &[String] {
        &self.names.tables
    }
}

impl Names {
    fn rule(&mut self, rule: &Rule) -> Compiled {
        let old = rule.legacy.is_some();
        let mut keys: Vec<_> = rule.keys.iter().map(|key| test(key, old)).collect();
        keys.sort_by_key(|key| match key.kind {
            KeyKind::Header => 0,
            KeyKind::Query => 1,
            KeyKind::Path => 2,
            KeyKind::Url => 3,
            KeyKind::Cookie => 4,
        });
        let change = |list: &mut Vec<String>, change: &Change| match change {
            Change::Keep => None,
            Change::Clear => Some(0),
            Change::Set(name) => Some(intern(list, name)),
        };
        Compiled {
            action: rule.action,
            quick: rule.quick,
            family: rule.family,
            from: rule.from,
            to: rule.to,
            method: rule.method.as_ref().map(|m| m.as_bytes().into()),
            tagged: rule.tagged.as_ref().map(|t| intern(&mut self.tags, t)),
            tag: change(&mut self.tags, &rule.tag),
            label: change(&mut self.labels, &rule.label),
            forward: rule
                .forward
                .as_ref()
                .map(|table| intern(&mut self.tables, table)),
            strip: rule.strip.unwrap_or_default(),
            keys,
            legacy: rule.legacy.clone(),
        }
    }
}

/// A file's key stands in all key types of its rule; with more than one type each line becomes a rule.
fn split_lists(rule: &Rule) -> Vec<Rule> {
    let lists = |key: &&Key| matches!(key.pattern, Pattern::File { .. });
    if rule.keys.iter().filter(lists).count() < 2 {
        return vec![rule.clone()];
    }
    let Some(Pattern::File { keys, .. }) = rule.keys.iter().find(lists).map(|k| &k.pattern) else {
        return vec![rule.clone()];
    };
    let line = |text: &String| {
        let mut one = rule.clone();
        for key in &mut one.keys {
            if matches!(key.pattern, Pattern::File { .. }) {
                key.pattern = Pattern::One(text.clone());
            }
        }
        one
    };
    keys.iter().map(line).collect()
}

fn test(key: &Key, old: bool) -> Test {
    let name = match &key.pattern {
        // A log without key logs all there is.
        Pattern::Any if key.op == KeyOp::Log && key.kind != KeyKind::Url => one(key, "*", old),
        Pattern::Any => Name::Any,
        Pattern::One(text) => one(key, text, old),
        Pattern::File { keys, .. } => {
            Name::List(List::new(keys, |text| name_matcher(key, text, old)))
        }
        Pattern::Digest(digest) => Name::Digest(digest.clone()),
    };
    let fold = match key.kind {
        KeyKind::Cookie | KeyKind::Path => true,
        KeyKind::Header | KeyKind::Query | KeyKind::Url => old,
    };
    let value = key.value.as_deref().unwrap_or("*");
    Test {
        kind: key.kind,
        op: key.op,
        name,
        value: Matcher::new(value, fold, key.lua && key.value.is_some()),
        write: Template::new(key.value.as_deref().unwrap_or_default()),
    }
}

fn one(key: &Key, text: &str, old: bool) -> Name {
    Name::One {
        text: text.into(),
        matcher: name_matcher(key, text, old),
    }
}

fn name_matcher(key: &Key, text: &str, old: bool) -> Matcher {
    match key.kind {
        _ if key.lua => Matcher::new(text, false, true),
        KeyKind::Header if old || !is_glob(text) => Matcher::exact(text, true),
        KeyKind::Header => Matcher::new(text, true, false),
        KeyKind::Cookie | KeyKind::Url => Matcher::exact(text, true),
        KeyKind::Path if old => Matcher::exact(text, true),
        KeyKind::Path | KeyKind::Query => Matcher::new(text, false, false),
    }
}
