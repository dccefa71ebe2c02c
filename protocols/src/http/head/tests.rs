#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::http::{Body, judge, response_framing};
use proptest::prelude::*;

fn request(wire: &[u8]) -> Result<Head, Refusal> {
    let mut head = Head::default();
    match head.parse_request(wire, 8192)? {
        Parse::Complete => Ok(head),
        Parse::Partial => panic!("partial"),
    }
}

fn refused(wire: &[u8]) -> (u16, &'static str) {
    match request(wire) {
        Err(refusal) => (refusal.status, refusal.message),
        Ok(_) => panic!("accepted {:?}", String::from_utf8_lossy(wire)),
    }
}

fn response(wire: &[u8], method: Method) -> Result<Framing, Refusal> {
    let mut head = Head::default();
    assert_eq!(head.parse_response(wire, 8192)?, Parse::Complete);
    response_framing(&head, method)
}

fn post(fields: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

#[test]
fn a_request_is_read() {
    let wire = b"PATCH /a?b HTTP/1.1\r\nhOst: h:8080\r\nX:  v w \t\r\nExpect: 100-Continue\r\nContent-Length: 007\r\n\r\nbody";
    let head = request(wire).unwrap();
    assert_eq!(head.method_name.of(wire), b"PATCH");
    assert_eq!(head.target.of(wire), b"/a?b");
    assert_eq!(head.host(wire), Some(&b"h:8080"[..]));
    assert_eq!(head.find(wire, b"x").unwrap().value.of(wire), b"v w");
    assert_eq!(head.len, wire.len() - 4);
    assert_eq!(head.framing, Framing::Length(7));
    assert!(head.expect_continue && head.persistent() && !head.lf);
}

#[test]
fn unknown_methods_and_empty_fields_are_legal() {
    assert_eq!(
        request(b"QUERY / HTTP/1.1\r\n\r\n").unwrap().method,
        Method::Other
    );
    assert_eq!(
        request(b"get / HTTP/1.0\r\nA:\r\n\r\n").unwrap().method,
        Method::Other
    );
    assert!(request(b"OPTIONS * HTTP/1.1\r\n\r\n").is_ok());
    assert!(request(b"GET http://h/x HTTP/1.1\r\nHost: H:80\r\n\r\n").is_ok());
    assert!(request(b"GET / HTTP/1.1\r\nHost:\r\n\r\n").is_ok());
}

#[test]
fn malformed_request_lines_are_refused_with_their_status() {
    for (wire, status, message) in [
        (&b"\r\nGET / HTTP/1.1\r\n\r\n"[..], 406, "no method"),
        (b"\nGET / HTTP/1.1\r\n\r\n", 406, "no method"),
        (b"garbage\r\n\r\n", 400, "malformed"),
        (b"GET / \r\n\r\n", 400, "malformed"),
        (b"GET /\r\n\r\n", 500, "no version"),
        (b"GET  / HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET /  HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET\t/ HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b" GET / HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"G@T / HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET /\0 HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET /a#b HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET a HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET * HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET ftp://h/ HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1 \r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1 x\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/2.0\r\n\r\n", 505, "version not supported"),
        (b"GET / HTTP/1.2\r\n\r\n", 505, "version not supported"),
        (b"GET / http/1.1\r\n\r\n", 400, "malformed"),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            505,
            "version not supported",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "malformed"),
        (b"CONNECT h:443 HTTP/1.1\r\n\r\n", 405, "Method Not Allowed"),
    ] {
        assert_eq!(
            refused(wire),
            (status, message),
            "{:?}",
            String::from_utf8_lossy(wire)
        );
    }
}

#[test]
fn malformed_fields_are_refused_as_400() {
    for fields in [
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A: b\r\n\tc\r\n",
        "A\r\n",
        ": b\r\n",
        "A\0: b\r\n",
        "A: b\0\r\n",
        "A: b\rc\r\n",
        "A: \r\r\n",
        "A(: b\r\n",
        "\"A\": b\r\n",
        "A: b\x01\r\n",
        "A: b\x7f\r\n",
        "A:b\rB:c\r\n",
        "\u{e4}: b\r\n",
    ] {
        assert_eq!(refused(&post(fields)), (400, "malformed"), "{fields:?}");
    }
}

#[test]
fn line_ends_may_not_be_mixed() {
    assert!(request(b"GET / HTTP/1.1\nHost: h\n\n").unwrap().lf);
    for wire in [
        &b"GET / HTTP/1.1\r\nHost: h\n\r\n"[..],
        b"GET / HTTP/1.1\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\nContent-Length: 3\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\nHost: h\n\r\n",
    ] {
        assert_eq!(
            refused(wire),
            (400, "malformed"),
            "{:?}",
            String::from_utf8_lossy(wire)
        );
    }
}

#[test]
fn contradicting_lengths_are_refused() {
    for (fields, status, message) in [
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            400,
            "malformed header",
        ),
        (
            "Content-Length: 1\r\ncontent-length: 1\r\n",
            400,
            "malformed header",
        ),
        ("Content-Length: 1, 1\r\n", 500, "invalid"),
        ("Content-Length: +0\r\n", 500, "invalid"),
        ("Content-Length: -1\r\n", 500, "invalid"),
        ("Content-Length: 0x1\r\n", 500, "invalid"),
        ("Content-Length: 1 1\r\n", 500, "invalid"),
        ("Content-Length:\r\n", 500, "invalid"),
        ("Content-Length: 1.0\r\n", 500, "invalid"),
        ("Content-Length: 9223372036854775808\r\n", 500, "too large"),
        (
            "Content-Length: 99999999999999999999999\r\n",
            500,
            "too large",
        ),
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            400,
            "malformed header",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            400,
            "malformed header",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            400,
            "malformed",
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", 400, "malformed"),
        ("Transfer-Encoding: identity\r\n", 400, "malformed"),
        ("Transfer-Encoding: xchunked\r\n", 400, "malformed"),
        ("Transfer-Encoding: \x0bchunked\r\n", 400, "malformed"),
        ("Transfer-Encoding: chunked;a\r\n", 400, "malformed"),
        ("Transfer-Encoding:\r\n", 400, "malformed"),
    ] {
        assert_eq!(refused(&post(fields)), (status, message), "{fields:?}");
    }
    assert_eq!(
        refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, "malformed")
    );
    assert_eq!(
        refused(b"TRACE / HTTP/1.1\r\nContent-Length: 1\r\n\r\n"),
        (400, "malformed")
    );
    assert_eq!(
        refused(b"CONNECT h:1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n"),
        (400, "malformed")
    );
    assert_eq!(
        request(&post("Transfer-Encoding: Chunked\r\n"))
            .unwrap()
            .framing,
        Framing::Chunked
    );
    assert_eq!(request(&post("")).unwrap().framing, Framing::None);
}

#[test]
fn host_rules() {
    for (wire, message) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "malformed header",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
            "malformed header",
        ),
        (
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "malformed host",
        ),
        (
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "malformed host",
        ),
        ("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: a:80:b\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "malformed host"),
        ("GET / HTTP/1.1\r\nHost: a[b]\r\n\r\n", "malformed host"),
    ] {
        assert_eq!(refused(wire.as_bytes()), (400, message), "{wire:?}");
    }
}

#[test]
fn long_heads_are_refused_complete_or_not() {
    let mut head = Head::default();
    let wire = b"GET / HTTP/1.1\r\nA: 234\r\n\r\n";
    assert_eq!(head.parse_request(wire, 20), Ok(Parse::Complete));
    assert_eq!(head.parse_request(wire, 19), Err(Refusal::HEAD_TOO_LARGE));
    assert_eq!(
        head.parse_request(b"GET / HTTP/1.1\r\nA: 2345", 20),
        Err(Refusal::HEAD_TOO_LARGE)
    );
    assert_eq!(
        head.parse_request(b"GET / HTTP/1.1\r\nA: 234", 20),
        Ok(Parse::Partial)
    );
    assert_eq!(
        head.parse_response(b"HTTP/1.1 200 OK\r\nA: 2345", 20),
        Err(Refusal::RESPONSE_TOO_LARGE)
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A:\r\n".repeat(300));
    assert_eq!(
        head.parse_request(many.as_bytes(), 8192),
        Err(Refusal::HEAD_TOO_LARGE)
    );
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    assert_eq!(
        head.parse_request(long.as_bytes(), 131_072),
        Err(Refusal::TARGET_TOO_LONG)
    );
}

#[test]
fn responses_are_framed_by_their_request() {
    let ok = |f: &str| format!("HTTP/1.1 200 OK\r\n{f}\r\n").into_bytes();
    let get = Method::Get;
    assert_eq!(response(&ok(""), get), Ok(Framing::Close));
    assert_eq!(
        response(&ok("Content-Length: 0\r\n"), get),
        Ok(Framing::None)
    );
    assert_eq!(
        response(&ok("Content-Length: 9\r\n"), get),
        Ok(Framing::Length(9))
    );
    assert_eq!(
        response(&ok("Content-Length: 9\r\n"), Method::Head),
        Ok(Framing::None)
    );
    assert_eq!(
        response(&ok("Transfer-Encoding: chunked\r\n"), get),
        Ok(Framing::Chunked)
    );
    assert_eq!(response(b"HTTP/1.1 200\r\n\r\n", get), Ok(Framing::Close));
    assert_eq!(
        response(b"HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", get),
        Ok(Framing::None)
    );
    assert_eq!(response(b"HTTP/1.1 204 N\r\n\r\n", get), Ok(Framing::None));
    assert_eq!(response(b"HTTP/1.1 100 C\r\n\r\n", get), Ok(Framing::None));
}

#[test]
fn contradicting_responses_are_refused() {
    for (wire, status) in [
        (&b"HTTP/1.1 204 N\r\nContent-Length: 1\r\n\r\n"[..], 502),
        (b"HTTP/1.1 100 C\r\nContent-Length: 1\r\n\r\n", 502),
        (b"HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n", 502),
        (
            b"HTTP/1.1 200 O\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            502,
        ),
        (
            b"HTTP/1.1 200 O\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            502,
        ),
        (b"HTTP/1.0 200 O\r\nTransfer-Encoding: chunked\r\n\r\n", 502),
        (b"HTTP/1.1 200 O\r\nTransfer-Encoding: gzip\r\n\r\n", 502),
        (b"HTTP/1.1 200 O\r\nContent-Length: x\r\n\r\n", 502),
        (b"HTTP/1.1 200 O\r\nA: b\r\n c\r\n\r\n", 502),
        (b"HTTP/1.1 200 O\r\nA : b\r\n\r\n", 502),
        (b"HTTP/1.1 200 O\r\nA: b\nC: d\r\n\r\n", 502),
        (b"\r\nHTTP/1.1 200 O\r\n\r\n", 502),
        (b"HTTP/1.1 99 O\r\n\r\n", 500),
        (b"HTTP/1.1 600 O\r\n\r\n", 500),
        (b"HTTP/1.1 099 O\r\n\r\n", 500),
        (b"HTTP/3.1 200 O\r\n\r\n", 500),
        (b"nonsense\r\n\r\n", 500),
    ] {
        let refusal = response(wire, Method::Get).unwrap_err();
        assert_eq!(
            refusal.status,
            status,
            "{:?}",
            String::from_utf8_lossy(wire)
        );
    }
}

#[test]
fn what_follows_in_the_buffer_is_judged_first() {
    let mut head = Head::default();
    let mut check = |framing, rest: &[u8]| judge(&mut head, Body::new(framing, 8192), rest, 8192);
    assert_eq!(check(Framing::None, b""), Ok(()));
    assert_eq!(check(Framing::None, b"GET / HTTP/1.1\r\n\r\nGET /"), Ok(()));
    assert_eq!(
        check(Framing::None, b"garbage\r\n"),
        Err(Refusal::MALFORMED)
    );
    assert_eq!(
        check(Framing::Length(3), b"abcgarbage\r\n"),
        Err(Refusal::MALFORMED)
    );
    assert_eq!(check(Framing::Length(30), b"abcgarbage\r\n"), Ok(()));
    assert_eq!(check(Framing::Chunked, b"+1\r\n"), Err(Refusal::CHUNK_SIZE));
    assert_eq!(
        check(
            Framing::None,
            b"PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\nA : b\r\n\r\n"
        ),
        Err(Refusal::MALFORMED)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0usize..300) {
        let mut head = Head::default();
        let _ = head.parse_request(&bytes, limit);
        let _ = head.parse_response(&bytes, limit);
    }

    /// What is accepted and written anew reads the same again, whatever a strict or lax reader does with it.
    #[test]
    fn a_rewritten_head_reads_the_same(
        target in "/[!-\"$-~]{0,20}",
        fields in proptest::collection::vec(("[A-Za-z-]{1,12}", "[ -~]{0,20}"), 0..8),
        lf in any::<bool>(),
    ) {
        let end = if lf { "\n" } else { "\r\n" };
        let mut wire = format!("POST {target} HTTP/1.1{end}");
        for (name, value) in &fields {
            wire.push_str(&format!("{name}: {value}{end}"));
        }
        wire.push_str(end);
        if let Ok(head) = request(wire.as_bytes()) {
            let mut edits = crate::http::Edits::default();
            edits.add(b"Added", b"1");
            let mut out = Vec::new();
            edits.render(&head, wire.as_bytes(), &mut out);
            let again = request(&out).unwrap();
            prop_assert_eq!(again.framing, head.framing);
            prop_assert_eq!(again.fields.len(), head.fields.len() + 1);
            prop_assert!(!again.lf);
            for (a, b) in head.fields.iter().zip(&again.fields) {
                prop_assert_eq!(a.name.of(wire.as_bytes()), b.name.of(&out));
                prop_assert_eq!(a.value.of(wire.as_bytes()), b.value.of(&out));
            }
        }
    }

    /// A head cut anywhere is unfinished or refused, never taken for complete.
    #[test]
    fn a_cut_head_is_never_complete(cut in 0usize..60) {
        let wire = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nA: bcdefgh\r\n\r\n";
        let mut head = Head::default();
        prop_assert_eq!(head.parse_request(&wire[..cut.min(wire.len() - 1)], 8192), Ok(Parse::Partial));
    }
}
