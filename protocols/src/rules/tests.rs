#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

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

#[test]
fn everything_passes_without_rules_and_the_last_match_decides() {
    assert!(judge(&[], GET).passed());
    assert!(judge(&[rule(Block, |_| ()), rule(Pass, |_| ())], GET).passed());
    assert!(!judge(&[rule(Pass, |_| ()), rule(Block, |_| ())], GET).passed());
    assert!(!judge(&[quick(rule(Block, |_| ())), rule(Pass, |_| ())], GET).passed());
    assert!(judge(&[quick(rule(Pass, |_| ())), rule(Block, |_| ())], GET).passed());
    assert!(judge(&[response(rule(Block, |_| ()))], GET).passed());
    assert!(!judge(&[response(rule(Block, |_| ()))], "HTTP/1.1 200 OK||").passed());
}

#[test]
fn conditions_hold_by_the_rules_of_their_type() {
    for (kind, name, value, hit) in [
        (Header, "x-tEST", None, true),
        (Header, "X-Test", Some("yes"), true),
        (Header, "X-Test", Some("Yes"), false),
        (Header, "X-Test", Some("no"), false), // only the first of repeated fields
        (Header, "X-Test", Some("y?s"), true),
        (Header, "X-*", Some("y*"), true),
        (Header, "c*", Some("sid*"), true),
        (Header, "*", Some("sid*"), true), // Cookie comes first in the alphabet
        (Header, "Absent", None, false),
        (Cookie, "SID", Some("7"), true),
        (Cookie, "sid", None, true),
        (Cookie, "theme", Some("dark"), true),
        (Cookie, "s*", None, false),
        (Query, "x", Some("1"), true),
        (Query, "y", Some("two"), false),
        (Query, "y", Some("T*"), true),
        (Query, "?", Some("Two"), true),
        (Query, "X", None, false),
        (Path, "/a/b", None, true),
        (Path, "/A/b", None, false),
        (Path, "/a/*", None, true),
        (Path, "*/b", None, true),
        (Path, "/a/*", Some("X=1*"), true), // the query string, whatever its case
        (Path, "/a/*", Some("x=2*"), false),
        (Url, "www.example.com/a/b?x=1&y=two", None, true),
        (Url, "EXAMPLE.com/", None, true),
        (Url, "example.com/a/", None, true),
        (Url, "example.com/a/b/", None, false),
        (Url, "com/", None, false),
        (Url, "*.example.com/", None, false),
    ] {
        let outcome = judge(&[keyed(Block, kind, Test, name, value)], GET);
        assert_eq!(!outcome.passed(), hit, "{kind:?} {name} {value:?}");
    }
}

#[test]
fn all_keys_of_a_rule_must_hold() {
    let both = rule(Block, |r| {
        r.keys.push(key(Header, Test, "X-Test", Some("yes")));
        r.keys.push(key(Path, Test, "/b/*", None));
    });
    assert!(judge(std::slice::from_ref(&both), GET).passed());
    let other = rule(Block, |r| {
        r.keys.push(key(Path, Test, "/a/*", None));
        r.keys.push(key(Header, Test, "X-Test", Some("yes")));
        r.method = Some("GET".into());
    });
    assert!(!judge(&[other], GET).passed());
    let method = rule(Block, |r| r.method = Some("get".into()));
    assert!(judge(&[method], GET).passed());
}

#[test]
fn addresses_and_families_select() {
    let from = |net: &str| rule(Block, |r| r.from = Some(net.parse().unwrap()));
    let to = |net: &str| rule(Block, |r| r.to = Some(net.parse().unwrap()));
    assert!(!judge(&[from("192.0.2.0/29")], GET).passed());
    assert!(judge(&[from("192.0.2.0/30")], GET).passed());
    assert!(!judge(&[to("192.0.2.1/32")], GET).passed());
    assert!(judge(&[to("192.0.2.7/32")], GET).passed());
    let inet6 = [rule(Block, |r| r.family = Some(Family::Inet6))];
    assert!(judge(&inet6, GET).passed());
    assert!(!Relay::new(&inet6).message_from(GET, "[::1]:9").passed());
}

#[test]
fn a_url_rule_needs_a_host() {
    let url = keyed(Block, Url, Test, "nowhere.com/", None);
    assert!(!judge(std::slice::from_ref(&url), "GET / HTTP/1.1||").passed());
    let bad = judge(&[url], "GET / HTTP/1.1|Host: ||").verdict;
    assert_eq!(bad, Err(Refusal::BAD_REQUEST));
    assert!(judge(&[], "GET / HTTP/1.1|Host: ||").passed());
}

#[test]
fn digests_of_addresses_are_looked_up() {
    // SHA-1 and MD5 of "example.com/"
    let digest = |digest| {
        rule(Block, |r| {
            r.keys.push(Key {
                pattern: Pattern::Digest(digest),
                ..key(Url, Test, "", None)
            });
        })
    };
    use sha1::Digest as _;
    let sha1 = Digest::Sha1(sha1::Sha1::digest(b"example.com/").into());
    let md5 = Digest::Md5(md5::Md5::digest(b"example.com/").into());
    assert!(!judge(&[digest(sha1.clone())], GET).passed());
    assert!(!judge(&[digest(md5)], GET).passed());
    assert!(judge(&[digest(sha1)], "GET / HTTP/1.1|Host: example.org||").passed());
}

#[test]
fn a_bare_pass_costs_nothing_at_the_start_and_decides_at_the_end() {
    let bare = || rule(Pass, |_| ());
    let set = Ruleset::compile(&[bare(), bare()]);
    assert!(set.is_empty(Direction::Request));
    let bad = "GET / HTTP/1.1\r\nX: bad\r\n\r\n";
    let blocks = || keyed(Block, Header, Test, "X", Some("bad"));
    assert!(!Relay::new(&[bare(), blocks()]).message(bad).passed());
    assert!(Relay::new(&[blocks(), bare()]).message(bad).passed());
    // The last word, a condition, an effect: not bare.
    assert!(Relay::new(&[quick(bare()), blocks()]).message(bad).passed());
    let tagged = rule(Pass, |r| r.tag = Change::Set("t".to_owned()));
    assert!(!Ruleset::compile(&[tagged]).is_empty(Direction::Request));
    let some = rule(Pass, |r| r.family = Some(Family::Inet));
    assert!(!Ruleset::compile(&[some]).is_empty(Direction::Request));
}

#[test]
fn tags_last_as_long_as_the_connection() {
    let mut relay = Relay::new(&[
        rule(Match, |r| {
            r.keys.push(key(Path, Test, "/a/*", None));
            r.tag = Change::Set("seen".into());
        }),
        response(rule(Match, |r| {
            r.tagged = Some("seen".into());
            r.keys.push(key(Header, Set, "X-Seen", Some("1")));
        })),
        rule(Match, |r| {
            r.keys.push(key(Path, Test, "/clear", None));
            r.tag = Change::Clear;
        }),
    ]);
    assert_eq!(relay.message("HTTP/1.1 200 OK||").head, "HTTP/1.1 200 OK||");
    assert_eq!(relay.message(GET).tag.as_deref(), Some("seen"));
    assert_eq!(
        relay.message("GET / HTTP/1.1||").tag.as_deref(),
        Some("seen")
    );
    assert_eq!(
        relay.message("HTTP/1.1 200 OK||").head,
        "HTTP/1.1 200 OK|X-Seen: 1||"
    );
    assert_eq!(relay.message("GET /clear HTTP/1.1||").tag, None);
}

#[test]
fn a_match_rule_takes_effect_for_later_rules_of_the_same_message() {
    let rules = [
        rule(Match, |r| {
            r.keys.push(key(Header, Test, "X-Test", None));
            r.tag = Change::Set("t".into());
            r.label = Change::Set("l".into());
            r.forward = Some("one".into());
        }),
        rule(Block, |r| r.tagged = Some("t".into())),
    ];
    let outcome = judge(&rules, GET);
    assert!(!outcome.passed());
    assert_eq!(outcome.label.as_deref(), Some("l"));
    assert_eq!(outcome.forward.as_deref(), Some("one"));
    // A pass rule that is not the last one has no effect at all.
    let lost = [
        rule(Pass, |r| r.forward = Some("lost".into())),
        rule(Pass, |r| r.forward = Some("won".into())),
    ];
    assert_eq!(judge(&lost, GET).forward.as_deref(), Some("won"));
}

#[test]
fn fields_are_changed() {
    let after = |kind, op, name: &str, value: Option<&str>| {
        judge(
            &[keyed(Match, kind, op, name, value)],
            "GET /a/b?q HTTP/1.1|Host: h|A: 1|a: 2|Cookie: c=1||",
        )
        .head
    };
    let head = |rest: &str| format!("GET /a/b?q HTTP/1.1|Host: h|{rest}|");
    assert_eq!(
        after(Header, Append, "A", Some("3")),
        head("A: 1|a: 2|Cookie: c=1|A: 3|")
    );
    assert_eq!(
        after(Header, Set, "A", Some("3")),
        head("A: 3|a: 2|Cookie: c=1|")
    );
    assert_eq!(
        after(Header, Set, "N", Some("$REMOTE_ADDR:$REMOTE_PORT")),
        head("A: 1|a: 2|Cookie: c=1|N: 192.0.2.7:5555|")
    );
    assert_eq!(
        after(
            Header,
            Append,
            "N",
            Some("$SERVER_ADDR:$SERVER_PORT $HOST $TIMEOUT")
        ),
        head("A: 1|a: 2|Cookie: c=1|N: 192.0.2.1:80 h 600|")
    );
    assert_eq!(after(Header, Remove, "A", None), head("Cookie: c=1|"));
    assert_eq!(
        after(Header, Remove, "A", Some("2")),
        head("A: 1|a: 2|Cookie: c=1|")
    );
    assert_eq!(after(Header, Remove, "c*", None), head("A: 1|a: 2|"));
    assert_eq!(
        after(Cookie, Append, "k", Some("v")),
        head("A: 1|a: 2|Cookie: c=1|Cookie: k=v;|")
    );
    assert_eq!(after(Cookie, Remove, "c", None), head("A: 1|a: 2|"));
    assert_eq!(
        after(Path, Set, "/a/*", Some("/x y")),
        "GET /x%20y?q HTTP/1.1|Host: h|A: 1|a: 2|Cookie: c=1||"
    );
    assert_eq!(
        after(Path, Remove, "/a/*", None),
        "GET /?q HTTP/1.1|Host: h|A: 1|a: 2|Cookie: c=1||"
    );
    assert_eq!(
        after(Path, Append, "/a/b", None),
        "GET /a/b/a/b?q HTTP/1.1|Host: h|A: 1|a: 2|Cookie: c=1||"
    );
    let set_cookie = judge(
        &[response(keyed(Match, Cookie, Append, "k", Some("v")))],
        "HTTP/1.1 200 OK|Set-Cookie: a=b||",
    );
    assert_eq!(
        set_cookie.head,
        "HTTP/1.1 200 OK|Set-Cookie: a=b|Set-Cookie: k=v;||"
    );
}

#[test]
fn path_components_are_stripped() {
    let strip = |n, target: &str| {
        let rules = [rule(Match, |r| r.strip = Some(n))];
        let head = judge(&rules, &format!("GET {target} HTTP/1.1||")).head;
        head.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(strip(1, "/a/b/c?q=/z"), "/b/c?q=/z");
    assert_eq!(strip(2, "/a/b/c"), "/c");
    assert_eq!(strip(3, "/a/b/c"), "/");
    assert_eq!(strip(9, "/a"), "/");
    assert_eq!(strip(1, "http://h/a/b"), "http://h/b");
}

#[test]
fn framing_fields_cannot_be_changed_by_rules() {
    let wire = "POST / HTTP/1.1|Content-Length: 3||";
    for op in [Append, Set, Remove] {
        for name in ["Content-Length", "transfer-encoding", "Content-*"] {
            let outcome = judge(&[keyed(Match, Header, op, name, None)], wire);
            assert_eq!(outcome.head, wire, "{op:?} {name}");
        }
    }
}

#[test]
fn match_actions_come_first_then_those_of_the_last_rule() {
    let rules = [
        keyed(Pass, Header, Set, "A", Some("lost")),
        keyed(Match, Header, Set, "A", Some("one")),
        keyed(Pass, Header, Append, "A", Some("two")),
        keyed(Match, Header, Append, "A", Some("three")),
    ];
    assert_eq!(
        judge(&rules, "GET / HTTP/1.1||").head,
        "GET / HTTP/1.1|A: one|A: three|A: two||"
    );
}

#[test]
fn items_are_logged_in_the_original_form() {
    let logged = |rules: &[Rule], wire: &str| judge(rules, wire).log;
    assert_eq!(
        logged(&[keyed(Match, Header, Log, "hOST", None)], GET),
        " [Host: www.example.com]"
    );
    assert_eq!(
        logged(&[keyed(Match, Query, Log, "y", None)], GET),
        " [y: Two]"
    );
    assert_eq!(
        logged(&[keyed(Match, Cookie, Log, "theme", None)], GET),
        " [theme: Dark]"
    );
    assert_eq!(
        logged(&[keyed(Match, Path, Log, "/a*", None)], "GET /a HTTP/1.1||"),
        " [/a]"
    );
    assert_eq!(
        logged(&[keyed(Match, Url, Log, "*", None)], GET),
        " [www.example.com/a/b]"
    );
    assert_eq!(logged(&[keyed(Match, Header, Log, "None", None)], GET), "");
    let labelled = rule(Match, |r| {
        r.keys.push(key(Header, Log, "Host", None));
        r.label = Change::Set("L".into());
    });
    assert_eq!(logged(&[labelled], GET), " [L, Host: www.example.com]");
    assert_eq!(
        logged(
            &[response(keyed(Match, Header, Log, "Server", None))],
            "HTTP/1.1 200 OK|Server: x||"
        ),
        " {Server: x}"
    );
    let all = rule(Match, |r| {
        r.keys.push(Key {
            pattern: Pattern::Any,
            ..key(Header, Log, "", None)
        });
    });
    assert_eq!(logged(&[all], "GET / HTTP/1.1|B: 2|a: 1||"), " [a: 1]");
}

#[test]
fn hash_actions_feed_values() {
    let hashed = |kind, name: &str| judge(&[keyed(Match, kind, Hash, name, None)], GET).hash;
    assert_eq!(hashed(Header, "X-Test"), b"yes");
    assert_eq!(hashed(Cookie, "sid"), b"7");
    assert_eq!(hashed(Query, "y"), b"Two");
    assert_eq!(hashed(Path, "*"), b"/a/b");
    assert_eq!(hashed(Header, "none"), b"");
}

#[test]
fn files_are_one_rule_per_line() {
    let listed = |kind, keys: &[&str], value| {
        !judge(
            &[rule(Block, |r| r.keys.push(file(kind, Test, keys, value)))],
            GET,
        )
        .passed()
    };
    assert!(listed(Header, &["none", "x-test"], None));
    assert!(!listed(Header, &["none", "x-test"], Some("no")));
    assert!(listed(Header, &["X-*"], None));
    assert!(!listed(Header, &[], None));
    assert!(listed(Path, &["/z", "/a/b"], None));
    assert!(listed(Path, &["/a/*"], None));
    assert!(!listed(Path, &["/A/b"], None));
    assert!(listed(Query, &["y"], Some("Two")));
    assert!(listed(Cookie, &["SID"], None));
    assert!(listed(Url, &["example.org/", "Example.com/"], None));
    let log = rule(Match, |r| {
        r.keys.push(file(Header, Log, &["x-test", "host"], None))
    });
    assert_eq!(
        judge(&[log], GET).log,
        " [X-Test: yes] [Host: www.example.com]"
    );
    let remove = rule(Match, |r| {
        r.keys
            .push(file(Header, Remove, &["x-test", "cookie"], None))
    });
    assert_eq!(
        judge(&[remove], GET).head,
        "GET /a/b?x=1&y=Two HTTP/1.1|Host: www.example.com||"
    );
    let both = rule(Block, |r| {
        r.keys.push(file(Header, Test, &["host", "/a/b"], None));
        r.keys.push(file(Path, Test, &["host", "/a/b"], None));
    });
    assert!(judge(&[both], GET).passed());
}

#[test]
fn long_lists_cost_one_look_up() {
    let keys: Vec<String> = (0..10_000)
        .map(|i| format!("host{i}.example.net/"))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut relay = Relay::new(&[rule(Block, |r| r.keys.push(file(Url, Test, &keys, None)))]);
    assert!(
        !relay
            .message("GET /x HTTP/1.1|Host: host9999.example.net||")
            .passed()
    );
    assert!(
        relay
            .message("GET /x HTTP/1.1|Host: host10000.example.net||")
            .passed()
    );
}

#[test]
fn lua_patterns_work_for_keys_and_values() {
    let lua = |kind, name: &str, value: Option<&str>| {
        let key = Key {
            lua: true,
            ..key(kind, Test, name, value)
        };
        !judge(&[rule(Block, |r| r.keys.push(key))], GET).passed()
    };
    assert!(lua(Path, "^/%a/%a$", None));
    assert!(!lua(Path, "^/%d/", None));
    assert!(lua(Header, "^X%-T", Some("^y")));
}

fn old(legacy: Legacy, change: impl FnOnce(&mut Rule)) -> Rule {
    rule(Match, |r| {
        r.legacy = Some(legacy);
        change(r);
    })
}

#[test]
fn expect_is_or_within_a_key_and_and_between_keys() {
    let expect = |name: &str, value: &str| {
        old(Legacy::Expect, |r| {
            r.keys.push(key(Header, Test, name, Some(value)));
            r.label = Change::Set("why".into());
        })
    };
    let one = [
        expect("X-Test", "NO"),
        expect("X-Test", "YES"),
        expect("Host", "www.*"),
    ];
    let single = "GET / HTTP/1.1|Host: WWW.x|X-Test: yes||";
    assert!(judge(&one, single).passed());
    assert!(!judge(&one, "GET / HTTP/1.1|Host: ftp.x|X-Test: yes||").passed());
    let missing = judge(&one, "GET / HTTP/1.1|Host: www.x||");
    assert!(!missing.passed());
    assert_eq!(missing.label.as_deref(), Some("why"));
    assert_eq!(judge(&one, GET).verdict, Err(Refusal::MALFORMED_HEADER));
}

#[test]
fn old_filter_mark_and_append_keep_their_meaning() {
    let rules = [
        old(Legacy::Append, |r| {
            r.keys.push(key(Header, Append, "A", Some("2")))
        }),
        old(Legacy::Filter, |r| {
            r.keys.push(key(Path, Test, "/BAD", None));
            r.tagged = Some("7".into());
        }),
        old(Legacy::Other, |r| {
            r.keys.push(key(Header, Test, "X-Mark", Some("on*")));
            r.tag = Change::Set("7".into());
        }),
    ];
    assert_eq!(
        judge(&rules, "GET / HTTP/1.1|A: 1||").head,
        "GET / HTTP/1.1|A: 1, 2||"
    );
    assert!(judge(&rules, "GET /bad HTTP/1.1||").passed());
    assert!(!judge(&rules, "GET /bad HTTP/1.1|X-Mark: ONE||").passed());
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let kind = prop_oneof![
        Just(Header),
        Just(Cookie),
        Just(Path),
        Just(Query),
        Just(Url)
    ];
    let op = prop_oneof![4 => Just(Test), 1 => Just(Log), 1 => Just(Hash), 1 => Just(Set), 1 => Just(Remove), 1 => Just(Append)];
    let name = prop_oneof![
        Just("Host"),
        Just("X-Test"),
        Just("sid"),
        Just("/a/b"),
        Just("/a/*"),
        Just("*"),
        Just("x"),
        Just("example.com/"),
        Just("X-*"),
        Just("nothing"),
        Just("/a/?"),
        Just("/c/*"),
    ];
    let value = prop_oneof![
        Just(None),
        Just(Some("yes")),
        Just(Some("7")),
        Just(Some("w*")),
        Just(Some("1"))
    ];
    let keys = proptest::collection::vec((kind, op, name, value), 0..3);
    let action = prop_oneof![Just(Match), Just(Pass), Just(Block)];
    let tag = prop_oneof![2 => Just(None), 1 => Just(Some("t")), 1 => Just(Some("u"))];
    (action, any::<bool>(), keys, tag.clone(), tag, any::<bool>()).prop_map(
        |(action, quick, keys, tag, tagged, get)| {
            rule(action, |r| {
                r.quick = quick && action != Match;
                r.tag = tag.map_or(Change::Keep, |t| Change::Set(t.to_owned()));
                r.tagged = tagged.map(str::to_owned);
                r.method = get.then(|| "GET".to_owned());
                r.keys = keys
                    .into_iter()
                    .map(|(k, o, n, v)| key(k, o, n, v))
                    .collect();
            })
        },
    )
}

proptest! {
    /// The index only saves time: with it or without, the same comes out.
    #[test]
    fn the_index_never_changes_a_verdict(
        rules in proptest::collection::vec(any_rule(), 0..90),
        wire in prop_oneof![
            Just(GET), Just("GET /c/d HTTP/1.1||"), Just("POST /a/z?x=1 HTTP/1.1|Host: a.example.com|X-Other: yes||"),
            Just("GET / HTTP/1.1|Host: ||"),
        ],
    ) {
        let mut with = Relay::new(&rules);
        let mut without = Relay::new(&rules);
        let all = super::index::Index::all(&without.set.request.rules);
        without.set.request.index = all;
        prop_assert_eq!(with.message(wire), without.message(wire));
        prop_assert_eq!(with.message(GET), without.message(GET));
    }
}
