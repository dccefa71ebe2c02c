//! Rules of HTTP relays, and what sessions show of them.

use crate::harness::*;
use crate::support::*;
use conf::model::Action;
use conf::model::Change;
use conf::model::Direction::{Request, Response};
use conf::model::KeyKind;
use conf::model::KeyOp;
use conf::model::Rule;
use std::time::Duration;
use tokio::net::TcpListener;

#[actix::test]
async fn rules_change_heads_choose_tables_and_log_items() {
    let log = Log::start();
    let (web, other) = (Web::start().await, Web::start().await);
    let setup = relay(&[&web, &other], |p| {
        p.rules = vec![
            rule(
                Action::Match,
                Request,
                &[(KeyKind::Header, KeyOp::Log, "Host", None)],
            ),
            rule(
                Action::Match,
                Response,
                &[(KeyKind::Header, KeyOp::Log, "Server", None)],
            ),
            rule(
                Action::Match,
                Request,
                &[(
                    KeyKind::Header,
                    KeyOp::Append,
                    "X-Forwarded-For",
                    Some("$REMOTE_ADDR"),
                )],
            ),
            rule(
                Action::Match,
                Response,
                &[(KeyKind::Header, KeyOp::Set, "Server", Some("mine"))],
            ),
            Rule {
                forward: Some("other".into()),
                ..rule(
                    Action::Pass,
                    Request,
                    &[(KeyKind::Path, KeyOp::Test, "/other*", None)],
                )
            },
        ];
    })
    .await;
    let mut client = Client::connect(&setup).await;
    let answer = client
        .ask("GET /server HTTP/1.1\r\nHost: foo.bar\r\n\r\n")
        .await;
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nServer: mine\r\nContent-Length: 2\r\n\r\nok"
    );
    assert_eq!(
        web.requests(),
        ["GET /server HTTP/1.1\r\nHost: foo.bar\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"]
    );
    client.ask("GET /other HTTP/1.1\r\n\r\n").await;
    client.ask("GET /main HTTP/1.1\r\n\r\n").await;
    assert_eq!((web.requests().len(), other.requests().len()), (2, 1));
    drop(client);
    let line = log.until(", done,").await;
    assert!(
        line.ends_with("done, [Host: foo.bar] GET {Server: x}; GET; GET;"),
        "{line}"
    );
    setup.running.stop().await;
}

#[actix::test]
async fn a_session_shows_its_tag_and_ends_with_its_client() {
    let _log = Log::start();
    // A server that never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut web = Web::start().await;
    web.address = listener.local_addr().unwrap();
    let mut setup = relay(&[&web], |p| {
        p.rules.push(Rule {
            tag: Change::Set("RED".into()),
            ..rule(Action::Match, Request, &[])
        });
    })
    .await;
    let mut client = Client::connect(&setup).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    let (_held, _) = within("accept", listener.accept()).await.unwrap();
    let sessions = setup.running.sessions().await;
    assert_eq!(sessions.len(), 1);
    assert_eq!(
        (sessions[0].tag, sessions[0].server),
        (1, Some(web.address))
    );
    // A reset, not an end: a client may end its side and still wait for the answer.
    socket2::SockRef::from(&client.socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    setup.running.until_sessions(0).await;
    setup.running.stop().await;
}
