//! Filter actions of older releases.

use super::*;

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
