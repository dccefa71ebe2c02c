//! The verdict on one message.
//! Owns the order of evaluation: quick, last match, and what match rules do at once (`relayd-conf` reference §14).
//! Must never keep anything of a message but tag and label, which belong to the connection.

use super::action;
use super::compile::{Compiled, Program, Ruleset};
use super::find::{Found, find};
use super::index::{Offer, ones};
use super::text::Macros;
use crate::http::{Candidates, Edits, Head, Refusal, Span, split_target};
use crate::log::id::RequestId;
use conf::model::{Action, Direction, Family};
use std::net::{IpAddr, SocketAddr};

/// A message to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Direction.
    pub direction: Direction,
    /// Its head.
    pub head: &'a Head,
    /// The bytes of the head.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub peer: SocketAddr,
    /// The other side, if known.
    pub other: Option<IpAddr>,
    /// Local address the client connected to.
    pub local: IpAddr,
    /// The relay's listening address, for macros.
    pub listen: SocketAddr,
    /// Session timeout in seconds, for macros.
    pub timeout: u64,
    /// Host field.
    pub host: Option<&'a [u8]>,
    /// Path of the request target.
    pub path: &'a [u8],
    /// Query of the request target.
    pub query: Option<&'a [u8]>,
    /// Name of the request, for macros.
    pub request: Option<RequestId>,
}

impl<'a> Subject<'a> {
    /// A message; what follows from its head is filled in.
    pub fn new(
        head: &'a Head,
        bytes: &'a [u8],
        peer: SocketAddr,
        other: Option<IpAddr>,
        local: IpAddr,
        listen: SocketAddr,
        timeout: u64,
    ) -> Self {
        let (_, path, query) = split_target(head.target.of(bytes));
        Subject {
            direction: if head.is_response() {
                Direction::Response
            } else {
                Direction::Request
            },
            head,
            bytes,
            peer,
            other,
            local,
            listen,
            timeout,
            host: head.host(bytes),
            path,
            query,
            request: None,
        }
    }

    pub(super) fn macros(&self) -> Macros<'a> {
        Macros {
            host: self.host,
            remote: self.peer,
            server: self.listen,
            timeout: self.timeout,
            request: self.request,
        }
    }

    pub(super) fn span(&self, part: &[u8]) -> Span {
        Span::within(self.bytes.as_ptr() as usize, part)
    }
}

/// What outlives a message: it belongs to the client's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Tag number; 0 = none.
    pub tag: u16,
    /// Label number; 0 = none.
    pub label: u16,
}

/// Result of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on.
    Pass,
    /// Refused with 403.
    Block,
}

/// Working memory and results of evaluations; one per process.
#[derive(Debug, Default)]
pub struct Work {
    /// Changes to the head.
    pub edits: Edits,
    /// What `hash` actions fed.
    pub hash: Vec<u8>,
    /// Items of `log` actions, each beginning with a blank.
    pub log: String,
    /// Whether items are wanted.
    pub wants_log: bool,
    /// Table chosen: number in [`Ruleset::tables`], from 1.
    pub forward: Option<u16>,
    pub(super) found: Vec<Found>,
    pub(super) spare: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) urls: Candidates,
    pub(super) urls_valid: bool,
    pub(super) sha1: Vec<[u8; 20]>,
    pub(super) md5: Vec<[u8; 16]>,
    bits: Vec<u64>,
    queue: Vec<Queued>,
    last: Vec<Queued>,
}

/// An action to be done when the verdict is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) rule: u32,
    /// Number of the key; beyond the last = `path strip`.
    pub(super) key: u32,
    pub(super) found: Found,
}

impl Work {
    /// Forgets the results of the message before, where no rule is evaluated.
    pub fn clear(&mut self) {
        self.edits.clear();
        self.hash.clear();
        self.log.clear();
        self.forward = None;
    }

    pub(super) fn reset(&mut self) {
        self.clear();
        self.sha1.clear();
        self.md5.clear();
        self.queue.clear();
        self.last.clear();
        self.urls_valid = false;
    }
}

impl Ruleset {
    /// Evaluates the rules of the message's direction. Results are in `work`; `memory` is updated.
    ///
    /// # Errors
    /// 400 where a rule needs a host and the message's is none.
    pub fn evaluate(
        &self,
        subject: &Subject<'_>,
        memory: &mut Memory,
        work: &mut Work,
    ) -> Result<Verdict, Refusal> {
        work.reset();
        let program = self.program(subject.direction);
        if let Some(old) = &program.old {
            prepare_urls(old.needs_urls(), subject, work);
            if old.evaluate(self, subject, memory, work)? == Verdict::Block {
                return Ok(Verdict::Block);
            }
        }
        if program.rules.is_empty() {
            return Ok(Verdict::Pass);
        }
        prepare_urls(program.index.needs_urls, subject, work);
        program.evaluate(self, subject, memory, work)
    }
}

fn prepare_urls(needed: bool, subject: &Subject<'_>, work: &mut Work) {
    if let Some(host) = subject.host.filter(|_| needed) {
        work.urls_valid = work.urls.collect(host, subject.path, subject.query).is_ok();
    }
}

impl Program {
    fn evaluate(
        &self,
        set: &Ruleset,
        subject: &Subject<'_>,
        memory: &mut Memory,
        work: &mut Work,
    ) -> Result<Verdict, Refusal> {
        let mut bits = std::mem::take(&mut work.bits);
        self.index.select(
            &Offer {
                head: subject.head,
                bytes: subject.bytes,
                path: subject.path,
                query: subject.query.unwrap_or_default(),
                cookies: subject.cookies(),
                urls: subject.host.and(work.urls_valid.then_some(&work.urls)),
            },
            &mut bits,
            &mut work.spare,
        );
        let last = self.walk(&bits, subject, memory, work);
        work.bits = bits;
        let last = last?.and_then(|number| self.rules.get(number));
        let mut verdict = Verdict::Pass;
        if let Some(rule) = last {
            note(rule, memory, work);
            if rule.action == Action::Block {
                verdict = Verdict::Block;
            }
        }
        let queue = std::mem::take(&mut work.queue);
        let last = std::mem::take(&mut work.last);
        for queued in queue.iter().chain(&last) {
            action::apply(&self.rules, queued, set, subject, *memory, work);
        }
        work.queue = queue;
        work.last = last;
        Ok(verdict)
    }

    /// Walks the selected rules; answers the last pass or block rule that matched.
    fn walk(
        &self,
        bits: &[u64],
        subject: &Subject<'_>,
        memory: &mut Memory,
        work: &mut Work,
    ) -> Result<Option<usize>, Refusal> {
        let mut last = None;
        for number in ones(bits) {
            let Some(rule) = self.rules.get(number) else {
                break;
            };
            if !applies(rule, subject, memory.tag) {
                continue;
            }
            let mark = work.queue.len();
            if !matches(rule, number, subject, work)? {
                work.queue.truncate(mark);
                continue;
            }
            if rule.action == Action::Match {
                note(rule, memory, work);
                continue;
            }
            let Work {
                queue, last: own, ..
            } = work;
            own.clear();
            own.extend(queue.drain(mark..));
            last = Some(number);
            if rule.quick {
                break;
            }
        }
        Ok(last)
    }
}

/// Tag, label and table of a rule that matched.
pub(super) fn note(rule: &Compiled, memory: &mut Memory, work: &mut Work) {
    memory.tag = rule.tag.unwrap_or(memory.tag);
    memory.label = rule.label.unwrap_or(memory.label);
    work.forward = rule.forward.or(work.forward);
}

/// The conditions that need no look at fields.
pub(super) fn applies(rule: &Compiled, subject: &Subject<'_>, tag: u16) -> bool {
    let family = |ip: IpAddr| match ip {
        IpAddr::V4(_) => Family::Inet,
        IpAddr::V6(_) => Family::Inet6,
    };
    let peer = subject.peer.ip();
    rule.family.is_none_or(|wanted| {
        family(peer) == wanted && subject.other.is_none_or(|other| family(other) == wanted)
    }) && rule.from.is_none_or(|net| net.contains(peer))
        && rule.to.is_none_or(|net| net.contains(subject.local))
        && rule
            .method
            .as_ref()
            .is_none_or(|method| **method == *subject.head.method_name.of(subject.bytes))
        && rule.tagged.is_none_or(|tagged| tagged == tag)
}

/// Whether all keys of a rule match; what they do is queued.
pub(super) fn matches(
    rule: &Compiled,
    number: usize,
    subject: &Subject<'_>,
    work: &mut Work,
) -> Result<bool, Refusal> {
    for (index, test) in (0..).zip(&rule.keys) {
        if !find(test, rule.action, subject, work)? {
            return Ok(false);
        }
        queue(test, number, index, work);
    }
    if rule.strip > 0 {
        work.queue.push(Queued {
            rule: number as u32,
            key: u32::MAX,
            found: Found::default(),
        });
    }
    Ok(true)
}

fn queue(test: &super::compile::Test, rule: usize, key: u32, work: &mut Work) {
    use conf::model::KeyOp;
    let queued = |found| Queued {
        rule: rule as u32,
        key,
        found,
    };
    match test.op {
        KeyOp::Test => {}
        KeyOp::Append | KeyOp::Set => {
            let found = work.found.first().copied().unwrap_or_default();
            work.queue.push(queued(found));
        }
        KeyOp::Remove | KeyOp::Hash | KeyOp::Log => {
            let Work { queue, found, .. } = work;
            queue.extend(found.iter().copied().map(queued));
        }
    }
}

/// Applies what is queued at once (older actions).
pub(super) fn drain(
    rules: &[Compiled],
    set: &Ruleset,
    subject: &Subject<'_>,
    memory: Memory,
    work: &mut Work,
) {
    let queue = std::mem::take(&mut work.queue);
    for queued in &queue {
        action::apply(rules, queued, set, subject, memory, work);
    }
    work.queue = queue;
    work.queue.clear();
}

/// Forgets what is queued.
pub(super) fn forget(work: &mut Work) {
    work.queue.clear();
}
