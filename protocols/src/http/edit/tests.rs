#![allow(clippy::unwrap_used)]
use super::*;

fn edited(wire: &str, change: impl FnOnce(&mut Edits, &Head, &[u8])) -> String {
    let mut head = Head::default();
    let bytes = wire.as_bytes();
    if wire.starts_with("HTTP/") {
        head.parse_response(bytes, 8192).unwrap();
    } else {
        head.parse_request(bytes, 8192).unwrap();
    }
    let mut edits = Edits::default();
    change(&mut edits, &head, bytes);
    let mut out = Vec::new();
    if edits.needed(&head) {
        edits.render(&head, bytes, &mut out);
    } else {
        out.extend_from_slice(bytes);
    }
    String::from_utf8(out).unwrap()
}

const PLAIN: &str = "GET /p HTTP/1.1\r\nHOST: h\r\nx-a:1\r\nX-A: 2\r\nEmpty:\r\n\r\n";

#[test]
fn order_and_spelling_are_kept() {
    assert_eq!(
        edited(PLAIN, |e, h, b| e.set(h, b, b"x-A", b"9")),
        "GET /p HTTP/1.1\r\nHOST: h\r\nx-a: 9\r\nX-A: 2\r\nEmpty: \r\n\r\n"
    );
    assert_eq!(
        edited(PLAIN, |e, _, _| e.add(b"New", b"v")),
        "GET /p HTTP/1.1\r\nHOST: h\r\nx-a:1\r\nX-A: 2\r\nEmpty:\r\nNew: v\r\n\r\n"
    );
    assert_eq!(edited(PLAIN, |_, _, _| ()), PLAIN);
}

#[test]
fn remove_append_merge_and_target() {
    assert_eq!(
        edited(PLAIN, |e, h, b| {
            e.remove(h, b, b"X-a");
            e.append(h, b, b"empty", b"full");
            e.append(h, b, b"Host", b"two");
            e.set_target(&[b"/a b", b"?q\xff"]);
        }),
        "GET /a%20b?q%FF HTTP/1.1\r\nHOST: h\r\nEmpty: full\r\nHost: two\r\n\r\n"
    );
    assert_eq!(
        edited(PLAIN, |e, h, b| e.merge(h, b, b"x-a", b"z")),
        "GET /p HTTP/1.1\r\nHOST: h\r\nx-a: 1, z\r\nX-A: 2\r\nEmpty: \r\n\r\n"
    );
    assert_eq!(
        edited(PLAIN, |e, h, b| {
            e.add(b"N", b"1");
            e.set(h, b, b"n", b"a\r\nEvil: 1");
            e.remove(h, b, b"x-a");
        }),
        "GET /p HTTP/1.1\r\nHOST: h\r\nEmpty: \r\nN: a  Evil: 1\r\n\r\n"
    );
}

#[test]
fn bare_line_feeds_become_line_ends() {
    assert_eq!(
        edited("GET / HTTP/1.1\nHost: h\nA:b\n\n", |_, _, _| ()),
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n"
    );
    assert_eq!(
        edited("GET / HTTP/1.0\n\n", |_, _, _| ()),
        "GET / HTTP/1.0\r\n\r\n"
    );
}

fn settled(wire: &str, keep: bool) -> (String, bool) {
    let mut kept = false;
    let text = edited(wire, |e, h, b| kept = e.settle(h, b, keep));
    (text.replace("\r\n", "|"), kept)
}

#[test]
fn connection_says_what_is_meant() {
    let r = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}\r\n");
    assert_eq!(settled(&r(""), true), ("HTTP/1.1 200 OK||".into(), true));
    assert_eq!(
        settled(&r(""), false),
        ("HTTP/1.1 200 OK|Connection: close||".into(), false)
    );
    assert_eq!(
        settled(&r("connection: close\r\n"), true),
        ("HTTP/1.1 200 OK||".into(), true)
    );
    assert_eq!(
        settled(&r("Connection: Close\r\n"), false),
        ("HTTP/1.1 200 OK|Connection: Close||".into(), false)
    );
    assert_eq!(
        settled(&r("Connection: keep-alive, X-Hop\r\n"), false),
        (
            "HTTP/1.1 200 OK|Connection: X-Hop|Connection: close||".into(),
            false
        )
    );
    assert_eq!(
        settled("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.0 200 OK|Connection: keep-alive||".into(), true)
    );
    assert_eq!(
        settled("HTTP/1.0 200 OK\r\n\r\n", true),
        ("HTTP/1.0 200 OK||".into(), false)
    );
    assert_eq!(
        settled("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.0 200 OK||".into(), false)
    );
}

#[test]
fn a_rule_has_the_last_word_on_connection() {
    let mut kept = true;
    let text = edited(
        "GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n",
        |e, h, b| {
            e.set(h, b, b"Connection", b"close");
            kept = e.settle(h, b, true);
        },
    );
    assert_eq!(text, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(!kept);
}
