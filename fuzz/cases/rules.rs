//! Rule evaluation on any head: nothing panics, and the framing of what is sent is that of what came.

use conf::limits::HTTP_FIELDS_MAX;
use conf::model::{Action, Change, Direction, Key, KeyKind, KeyOp, Legacy, Pattern, Rule};
use protocols::http::{Head, Parse};
use protocols::rules::{Memory, Ruleset, Subject, Work};
use std::cell::RefCell;

const NAMES: [&str; 12] = [
    "Host",
    "X-*",
    "Cookie",
    "sid",
    "/a/*",
    "*",
    "example.com/",
    "Connection",
    "Content-Length",
    "q",
    "/",
    "$HOST",
];

/// A rule from a few bytes.
fn rule(seed: &[u8]) -> Rule {
    let byte = |at: usize| seed.get(at).copied().unwrap_or_default();
    let kind = [
        KeyKind::Header,
        KeyKind::Cookie,
        KeyKind::Path,
        KeyKind::Query,
        KeyKind::Url,
    ];
    let op = [
        KeyOp::Test,
        KeyOp::Append,
        KeyOp::Set,
        KeyOp::Remove,
        KeyOp::Hash,
        KeyOp::Log,
    ];
    let action = [Action::Pass, Action::Block, Action::Match];
    // Responses have no path, query or url; the language refuses them.
    let response = byte(0) & 64 != 0;
    let name = |n: u8| NAMES[usize::from(n) % NAMES.len()].to_owned();
    let pattern = match byte(3) % 4 {
        0 => Pattern::Any,
        1 => Pattern::File {
            path: "f".into(),
            keys: vec![name(byte(4)), name(byte(5))],
        },
        _ => Pattern::One(name(byte(4))),
    };
    Rule {
        line: 1,
        action: action[usize::from(byte(0)) % 3],
        direction: if response {
            Direction::Response
        } else {
            Direction::Request
        },
        quick: byte(0) & 128 != 0,
        family: None,
        from: None,
        to: None,
        method: None,
        keys: vec![Key {
            kind: kind[usize::from(byte(1)) % if response { 2 } else { 5 }],
            op: op[usize::from(byte(2)) % 6],
            pattern,
            value: (byte(6) & 1 == 0).then(|| name(byte(6))),
            lua: byte(3) & 128 != 0,
        }],
        strip: (byte(6) & 8 != 0 && !response).then_some(2),
        forward: None,
        tag: if byte(7) & 1 == 0 {
            Change::Keep
        } else {
            Change::Set(name(byte(7)))
        },
        tagged: None,
        label: Change::Keep,
        legacy: match byte(7) % 7 {
            5 => Some(Legacy::Expect),
            6 => Some(Legacy::Filter),
            _ => None,
        },
    }
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

/// One input: the number of rules, eight bytes for each of them, a head.
pub fn run(input: &[u8]) {
    let [count, input @ ..] = input else {
        return;
    };
    let at = (usize::from(*count) * 8).min(input.len());
    let (seed, bytes) = input.split_at(at);
    let rules: Vec<Rule> = seed.chunks(8).take(70).map(rule).collect();
    let set = Ruleset::compile(&rules);
    let mut head = Head::default();
    let request = matches!(head.parse_request(bytes, 8192), Ok(Parse::Complete));
    if !request && !matches!(head.parse_response(bytes, 8192), Ok(Parse::Complete)) {
        return;
    }
    let peer = ([192, 0, 2, 1], 1).into();
    let subject = Subject::new(&head, bytes, peer, None, peer.ip(), peer, 600);
    WORK.with_borrow_mut(|work| {
        work.wants_log = true;
        if set
            .evaluate(&subject, &mut Memory::default(), work)
            .is_err()
        {
            return;
        }
        work.edits.settle(&head, bytes, true);
        let mut out = Vec::new();
        work.edits.render(&head, bytes, &mut out);
        assert!(!work.log.contains(['\r', '\n']));
        let mut again = Head::default();
        // Rules may write more fields than may be read.
        if head.fields.len() + rules.len() + 1 > HTTP_FIELDS_MAX {
            return;
        }
        if request {
            // A rule may make a Host that no server would take; framing is never its business.
            if let Ok(Parse::Complete) = again.parse_request(&out, usize::MAX) {
                assert_eq!(again.framing, head.framing);
                assert_eq!(again.len, out.len());
            }
            return;
        }
        assert_eq!(again.parse_response(&out, usize::MAX), Ok(Parse::Complete));
        assert_eq!(
            (again.content_length, again.chunked),
            (head.content_length, head.chunked)
        );
    });
}
