//! Which rules can match a message.
//! Owns the look-ups by what messages carry: field names and values, paths, addresses, cookies, parameters, methods.
//! Must never leave out a rule that could match; a rule in no look-up is tried always.

use super::compile::{Compiled, Name, Test};
use crate::http::{Candidates, Head};
use conf::model::{Digest, KeyKind, KeyOp};
use md5::Md5;
use sha1::{Digest as _, Sha1};
use std::collections::HashMap;

type Rules = Vec<u32>;
type Map = HashMap<Box<[u8]>, Rules>;

/// Look-ups of one direction's rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    always: Vec<u64>,
    /// Bit per kind of field name, so that most fields cost no look-up.
    seen: u64,
    names: Map,
    /// `name: value` of rules whose value is plain.
    values: Map,
    paths: Map,
    /// First component of a path.
    roots: Map,
    queries: Map,
    cookies: Map,
    methods: Map,
    urls: Map,
    sha1: Map,
    md5: Map,
    /// Rules with an address: without a host their condition is true.
    with_url: Rules,
    /// Some rule needs the list of addresses.
    pub(super) needs_urls: bool,
}

/// What a message offers to the look-ups.
pub(super) struct Offer<'a> {
    pub(super) head: &'a Head,
    pub(super) bytes: &'a [u8],
    pub(super) path: &'a [u8],
    pub(super) query: &'a [u8],
    /// Value of the first Cookie or Set-Cookie field.
    pub(super) cookies: Option<&'a [u8]>,
    /// `None` = no host.
    pub(super) urls: Option<&'a Candidates>,
}

fn bit(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, |c| c | 32);
    1 << ((name.len() as u64 * 5 + u64::from(first)) & 63)
}

/// The first component of an absolute path, with both slashes.
fn root(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(b"/")?;
    path.get(..memchr::memchr(b'/', rest)? + 2)
}

impl Index {
    pub(super) fn new(rules: &[Compiled]) -> Index {
        let mut index = Index {
            always: vec![0; rules.len().div_ceil(64)],
            ..Index::default()
        };
        for (number, rule) in (0..).zip(rules) {
            index.needs_urls |= rule.keys.iter().any(needs_urls);
            if rule.keys.iter().any(|k| k.kind == KeyKind::Url) {
                index.with_url.push(number);
            }
            if !rule.keys.iter().any(|key| index.by_key(number, key)) {
                match &rule.method {
                    Some(method) => push(&mut index.methods, method, number),
                    None => set(&mut index.always, number),
                }
            }
        }
        index
    }

    /// An index that selects every rule: what the other one is compared with.
    #[cfg(test)]
    pub(super) fn all(rules: &[Compiled]) -> Index {
        Index {
            always: vec![u64::MAX; rules.len().div_ceil(64)],
            needs_urls: rules.iter().any(|r| r.keys.iter().any(needs_urls)),
            ..Index::default()
        }
    }

    /// Puts a rule under one of its keys, if that key says what a message must carry.
    fn by_key(&mut self, rule: u32, key: &Test) -> bool {
        let (text, matcher) = match &key.name {
            Name::One { text, matcher } => (text, matcher),
            Name::Digest(Digest::Sha1(digest)) => {
                push(&mut self.sha1, digest, rule);
                return true;
            }
            Name::Digest(Digest::Md5(digest)) => {
                push(&mut self.md5, digest, rule);
                return true;
            }
            Name::Any | Name::List(_) => return false,
        };
        let adds = matches!(key.op, KeyOp::Append | KeyOp::Set);
        match key.kind {
            KeyKind::Header if !adds && matcher.is_plain() => {
                let lower = text.to_ascii_lowercase().into_bytes();
                match key.value.literal() {
                    Some(value) => push(&mut self.values, &pair(&lower, value), rule),
                    None => push(&mut self.names, &lower, rule),
                }
                self.seen |= bit(&lower);
                true
            }
            KeyKind::Path => match (matcher.literal(), matcher.literal_start().and_then(root)) {
                (Some(path), _) => {
                    push(&mut self.paths, path, rule);
                    true
                }
                (None, Some(root)) => {
                    push(&mut self.roots, root, rule);
                    true
                }
                _ => false,
            },
            KeyKind::Query => matcher.literal().is_some_and(|name| {
                push(&mut self.queries, name, rule);
                true
            }),
            // A log without key takes every cookie.
            KeyKind::Cookie if !adds && matcher.is_plain() && &**text != "*" => {
                let lower = text.to_ascii_lowercase().into_bytes();
                push(&mut self.cookies, &lower, rule);
                true
            }
            // A log rule compares its key with the path too.
            KeyKind::Url if key.op != KeyOp::Log && matcher.is_plain() => {
                let lower = text.to_ascii_lowercase().into_bytes();
                push(&mut self.urls, &lower, rule);
                true
            }
            _ => false,
        }
    }

    /// Marks in `bits` the rules that can match.
    pub(super) fn select(&self, offer: &Offer<'_>, bits: &mut Vec<u64>, spare: &mut Vec<u8>) {
        bits.clear();
        bits.extend_from_slice(&self.always);
        if self.seen != 0 {
            self.select_fields(offer, bits, spare);
        }
        let mut mark = |rules: Option<&Rules>| {
            for rule in rules.into_iter().flatten() {
                set(bits, *rule);
            }
        };
        if !self.methods.is_empty() {
            mark(self.methods.get(offer.head.method_name.of(offer.bytes)));
        }
        if !self.paths.is_empty() {
            mark(self.paths.get(offer.path));
        }
        if !self.roots.is_empty() {
            mark(root(offer.path).and_then(|root| self.roots.get(root)));
        }
        if !self.queries.is_empty() {
            for (name, _) in super::find::parameters(offer.query) {
                mark(self.queries.get(name));
            }
        }
        if !self.cookies.is_empty() {
            for (name, _) in offer.cookies.into_iter().flat_map(super::find::cookies) {
                mark(self.cookies.get(lower(name, spare)));
            }
        }
        match offer.urls {
            None => mark(Some(&self.with_url)),
            Some(urls) => {
                for url in urls.iter() {
                    mark(self.urls.get(url));
                    if !self.sha1.is_empty() {
                        mark(self.sha1.get(Sha1::digest(url).as_slice()));
                    }
                    if !self.md5.is_empty() {
                        mark(self.md5.get(Md5::digest(url).as_slice()));
                    }
                }
            }
        }
    }

    fn select_fields(&self, offer: &Offer<'_>, bits: &mut [u64], spare: &mut Vec<u8>) {
        for field in &offer.head.fields {
            let name = field.name.of(offer.bytes);
            if self.seen & bit(name) == 0 {
                continue;
            }
            for rule in self.names.get(lower(name, spare)).into_iter().flatten() {
                set(bits, *rule);
            }
            if !self.values.is_empty() {
                spare.push(b':');
                spare.extend_from_slice(field.value.of(offer.bytes));
                for rule in self.values.get(spare.as_slice()).into_iter().flatten() {
                    set(bits, *rule);
                }
            }
        }
    }
}

fn needs_urls(key: &Test) -> bool {
    key.kind == KeyKind::Url && !matches!(key.name, Name::Any)
}

fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    [name, b":", value].concat()
}

fn lower<'a>(name: &[u8], spare: &'a mut Vec<u8>) -> &'a [u8] {
    spare.clear();
    spare.extend_from_slice(name);
    spare.make_ascii_lowercase();
    spare
}

fn push(map: &mut Map, key: &[u8], rule: u32) {
    map.entry(key.into()).or_default().push(rule);
}

fn set(bits: &mut [u64], rule: u32) {
    if let Some(word) = bits.get_mut(rule as usize / 64) {
        *word |= 1 << (rule % 64);
    }
}

/// The numbers of the bits that are set, in order.
pub(super) fn ones(bits: &[u64]) -> impl Iterator<Item = usize> {
    bits.iter().enumerate().flat_map(|(index, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                index * 64 + bit
            })
        })
    })
}
