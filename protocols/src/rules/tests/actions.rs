//! What rules do to a message, to the log and to the hash.

use super::*;

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
