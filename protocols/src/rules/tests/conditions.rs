//! Which rules match, and which of them decides.

use super::*;

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
