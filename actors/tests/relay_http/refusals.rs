//! What HTTP relays do not pass on, and what the client and the log are told.

use crate::harness::*;
use crate::support::*;
use conf::model::Action;
use conf::model::Direction::Request;
use conf::model::KeyKind;
use conf::model::KeyOp;
use std::time::Duration;

#[actix::test]
async fn violations_get_the_documented_answer_and_the_server_sees_nothing() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |p| p.return_error = true).await;
    let silent = relay(&[&web], |_| ()).await;
    for (request, status) in [
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "400 Bad Request",
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400 Bad Request",
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
            "500 Internal Server Error",
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "400 Bad Request",
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
            "400 Bad Request",
        ),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", "400 Bad Request"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "400 Bad Request",
        ),
        (
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "400 Bad Request",
        ),
        ("GET / HTTP/1.1\r\nA: b\0\r\n\r\n", "400 Bad Request"),
        ("\r\nGET / HTTP/1.1\r\n\r\n", "406 Not Acceptable"),
        ("GET /\r\n\r\n", "500 Internal Server Error"),
        (
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "403 Forbidden",
        ),
        ("CONNECT h:1 HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (
            "GET /valid HTTP/1.1\r\n\r\ngarbage\r\n\r\n",
            "400 Bad Request",
        ),
        (
            &format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(9000)),
            "413 Payload Too Large",
        ),
    ] {
        let answer = once(&setup, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.0 {status}\r\n")),
            "{request:?}: {answer}"
        );
        assert!(answer.contains(
            "\r\nServer: OpenBSD relayd\r\nConnection: close\r\nContent-Type: text/html\r\n"
        ));
        assert_eq!(once(&silent, request).await, "", "{request:?}");
    }
    assert!(web.requests().is_empty(), "{:?}", web.requests());
    setup.running.stop().await;
    silent.running.stop().await;
}

#[actix::test]
async fn refusals_are_logged_in_the_original_words() {
    let log = Log::start();
    let web = Web::start().await;
    let block = rule(
        Action::Block,
        Request,
        &[(KeyKind::Path, KeyOp::Test, "/no*", None)],
    );
    let setup = relay(&[&web], |p| {
        p.return_error = true;
        p.rules.push(block.clone());
    })
    .await;
    once(&setup, "GET /nope HTTP/1.1\r\n\r\n").await;
    log.until(
        "WARN relay www, session 1 (0 active), 0, 127.0.0.1 -> :0, Forbidden (403 Forbidden), GET",
    )
    .await;
    setup.running.stop().await;
    let setup = relay(&[&web], |p| p.rules.push(block)).await;
    once(&setup, "GET /nope HTTP/1.1\r\n\r\n").await;
    log.until("INFO relay www, session 1 (0 active), 0, 127.0.0.1 -> :0, Forbidden, GET")
        .await;
    once(&setup, "garbage\r\n\r\n").await;
    log.until("INFO relay www, session 2 (0 active), 0, 127.0.0.1 -> :0, malformed")
        .await;
    setup.running.stop().await;
}

#[actix::test]
async fn bad_responses_become_a_gateway_error() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |p| p.return_error = true).await;
    for path in ["/both", "/unasked"] {
        let answer = once(&setup, &format!("GET {path} HTTP/1.1\r\n\r\n")).await;
        assert!(
            answer.starts_with("HTTP/1.0 502 Bad Gateway\r\n"),
            "{answer}"
        );
    }
    setup.running.stop().await;
}

#[actix::test]
async fn a_slow_head_does_not_hold_its_place() {
    let log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |p| {
        p.return_error = true;
        p.http.head_timeout = Duration::from_secs(1);
    })
    .await;
    let answer = once(&setup, "GET / HTTP/1.1\r\nA: b").await;
    assert!(
        answer.starts_with("HTTP/1.0 408 Request Timeout\r\n"),
        "{answer}"
    );
    log.until("request timeout (408 Request Timeout)").await;
    setup.running.stop().await;
}

#[actix::test]
async fn a_server_that_cannot_be_reached_is_an_error_page() {
    let _log = Log::start();
    let web = Web::start().await;
    let mut gone = Web::start().await;
    // A port where nobody listens.
    gone.address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    drop(web);
    let setup = relay(&[&gone], |p| p.return_error = true).await;
    let answer = once(&setup, "GET / HTTP/1.1\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 500 Internal Server Error\r\n"),
        "{answer}"
    );
    setup.running.stop().await;
}
