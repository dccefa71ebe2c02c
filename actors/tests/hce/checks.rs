//! Every check type against a host that is up, and the ways of being down.

use crate::harness::{Harness, INTERVAL, Server, TCP, TIMEOUT, config, http};
use actors::link::Message;
use conf::model::{Check, Digest, HostId, HttpRequest};
use protocols::host::{HostState, Reason};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[actix::test]
async fn tcp_host_goes_down_and_comes_back() {
    let server = Server::start(|_| {});
    let address = server.address;
    let mut hce = Harness::start(config(vec![(TCP, address.port(), vec!["127.0.0.1"])])).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    assert_eq!((hce.status(1).checks, hce.status(1).ups), (1, 1));
    hce.until("first round", |h| h.rounds > 0).await;
    drop(server);
    hce.until_host(1, HostState::Down, Reason::TcpConnectFailed)
        .await;
    let _server = Server::on(&address.to_string(), |_| {});
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    hce.stop().await;
}

#[actix::test]
async fn both_families_are_checked() {
    let server = Server::on("[::1]:0", |_| {});
    let tables = vec![(TCP, server.address.port(), vec!["::1"])];
    let mut hce = Harness::start(config(tables)).await;
    hce.until_host(1, HostState::Up, Reason::TcpConnectOk).await;
    hce.stop().await;
}

#[actix::test]
async fn http_answers_are_told_apart() {
    let ok = Server::answering(b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n");
    let busy = Server::answering(b"HTTP/1.1 503 Busy\r\n\r\n");
    let garbage = Server::answering(b"\x00\x01\x02 not http");
    let closing = Server::start(|_| {});
    let slow = Server::start(|stream| {
        // Until the check gives up.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    // Keeps the connection open and never ends its head: judged when the time is over.
    let lingering = Server::start(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let port = |server: &Server| server.address.port();
    let one = |server: &Server| (http(200), port(server), vec!["127.0.0.1"]);
    let mut hce = Harness::start(config(vec![
        one(&ok),
        one(&busy),
        one(&garbage),
        one(&closing),
        one(&slow),
        one(&lingering),
        (http(200), closed_port(), vec!["127.0.0.1"]),
    ]))
    .await;
    hce.until_host(1, HostState::Up, Reason::HttpCodeOk).await;
    assert_eq!(hce.status(1).http_code, 200);
    hce.until_host(2, HostState::Down, Reason::HttpCodeMismatch)
        .await;
    assert_eq!(hce.status(2).http_code, 503);
    hce.until_host(3, HostState::Down, Reason::HttpCodeMalformed)
        .await;
    hce.until("end of the closing server", |h| {
        h.hosts.get(&HostId(4)).is_some_and(|s| {
            s.state == HostState::Down
                && matches!(s.reason, Reason::HttpCodeMalformed | Reason::TcpReadFailed)
        })
    })
    .await;
    hce.until_host(5, HostState::Down, Reason::TcpReadTimeout)
        .await;
    let took = Duration::from_millis(hce.status(5).latency_ms.into());
    assert!(took >= TIMEOUT && took < TIMEOUT + INTERVAL, "{took:?}");
    hce.until_host(6, HostState::Up, Reason::HttpCodeOk).await;
    hce.until_host(7, HostState::Down, Reason::TcpConnectFailed)
        .await;
    hce.stop().await;
}

#[actix::test]
async fn digest_and_expect_checks() {
    let page = Server::answering(b"HTTP/1.0 200 OK\r\n\r\nhello");
    let mail = Server::start(|stream| {
        let _ = stream.write_all(b"220 mail.example.org ");
        crate::segments::wait_read(stream);
        let _ = stream.write_all(b"ESMTP\r\n");
        let _ = stream.read(&mut [0; 16]);
    });
    let binary = Server::answering(&[0, 1, 2, 3]);
    // sha1("hello"), md5 of something else.
    let sha1 = Digest::Sha1([
        0xaa, 0xf4, 0xc6, 0x1d, 0xdc, 0xc5, 0xe8, 0xa2, 0xda, 0xbe, 0xde, 0x0f, 0x3b, 0x48, 0x2c,
        0xd9, 0xae, 0xa9, 0x43, 0x4d,
    ]);
    let digest = |digest| Check::HttpDigest {
        request: HttpRequest {
            path: "/".to_owned(),
            host: Some("www".to_owned()),
            tls: false,
        },
        digest,
    };
    let expect = |expect: &str| Check::SendExpect {
        send: None,
        expect: expect.to_owned(),
        tls: false,
    };
    let bytes = |expect: &[u8]| Check::Binary {
        send: Some(vec![9]),
        expect: expect.to_vec(),
        tls: false,
    };
    let at = |check, server: &Server| (check, server.address.port(), vec!["127.0.0.1"]);
    let mut hce = Harness::start(config(vec![
        at(digest(sha1), &page),
        at(digest(Digest::Md5([1; 16])), &page),
        at(expect("220 *ESMTP*"), &mail),
        at(bytes(&[0, 1, 2]), &binary),
        at(bytes(&[0, 7]), &binary),
    ]))
    .await;
    hce.until_host(1, HostState::Up, Reason::HttpDigestOk).await;
    hce.until_host(2, HostState::Down, Reason::HttpDigestMismatch)
        .await;
    hce.until_host(3, HostState::Up, Reason::SendExpectOk).await;
    hce.until_host(4, HostState::Up, Reason::SendExpectOk).await;
    hce.until_host(5, HostState::Down, Reason::SendExpectFailed)
        .await;
    hce.stop().await;
}

#[actix::test]
async fn echo_requests_reach_loopback_and_miss_nobody() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: ICMP sockets need root");
        return;
    }
    // A raw socket of another process sees all replies too: only those that were asked for count.
    let hosts = vec!["127.0.0.1", "127.0.0.2", "::1"];
    let mut hce = Harness::start(config(vec![(Check::Icmp, 0, hosts)])).await;
    for id in 1..=3 {
        hce.until_host(id, HostState::Up, Reason::IcmpOk).await;
    }
    hce.stop().await;
}

#[actix::test]
async fn unanswered_echo_request_fails_after_the_tables_timeout() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: ICMP sockets need root");
        return;
    }
    // Class E on no interface: the request cannot leave, or nobody answers.
    let mut hce = Harness::start(config(vec![(Check::Icmp, 0, vec!["240.0.0.1"])])).await;
    hce.until("failed echo request", |h| {
        h.hosts
            .get(&HostId(1))
            .is_some_and(|s| s.state == HostState::Down)
    })
    .await;
    let reason = hce.status(1).reason;
    assert!(matches!(
        reason,
        Reason::IcmpReadTimeout | Reason::IcmpWriteTimeout
    ));
    hce.stop().await;
}

#[actix::test]
async fn scripts_run_through_the_parent_at_the_same_time() {
    let check = Check::Script {
        path: PathBuf::from("/bin/check"),
    };
    let mut hce = Harness::start(config(vec![(check, 80, vec!["127.0.0.1", "127.0.0.2"])])).await;
    hce.until("two requests at once", |h| h.scripts.len() >= 2)
        .await;
    for (request, host) in hce.scripts.clone() {
        // Greater than 0 is up.
        let status = Some(i32::from(host == "127.0.0.1"));
        hce.tell(Message::ScriptResult { request, status }).await;
    }
    hce.until_host(1, HostState::Up, Reason::ScriptOk).await;
    hce.until_host(2, HostState::Down, Reason::ScriptFailed)
        .await;
    hce.stop().await;
}
