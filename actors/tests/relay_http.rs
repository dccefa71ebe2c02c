//! The relay role over HTTP, with real servers and clients on the loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use actors::link::{RunState, Slot};
use conf::model::{
    Action, Change, Check, Direction, Key, KeyKind, KeyOp, Mode, Pattern, Protocol, ProtocolKind,
    RelayId, Rule,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A web server that remembers what it got and answers by path.
struct Web {
    address: SocketAddr,
    /// Whole requests, by connection number.
    seen: Rc<RefCell<Vec<(usize, String)>>>,
}

/// Reads a message with its body; `None` at the end of the connection.
async fn message(socket: &mut TcpStream, buffer: &mut Vec<u8>, response: bool) -> Option<String> {
    loop {
        if let Some(length) = whole(buffer, response) {
            let rest = buffer.split_off(length);
            let text = String::from_utf8_lossy(buffer).into_owned();
            *buffer = rest;
            return Some(text);
        }
        let mut chunk = [0; 16384];
        let count = socket.read(&mut chunk).await.ok()?;
        if count == 0 {
            let text = String::from_utf8_lossy(buffer).into_owned();
            buffer.clear();
            return (!text.is_empty()).then_some(text);
        }
        buffer.extend_from_slice(&chunk[..count]);
    }
}

fn whole(buffer: &[u8], response: bool) -> Option<usize> {
    let text = String::from_utf8_lossy(buffer);
    let end = text.find("\r\n\r\n")? + 4;
    let head = text[..end].to_ascii_lowercase();
    let field = |name: &str| {
        let line = head.lines().find(|l| l.starts_with(name))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    };
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    if response && (status.starts_with('1') || status == "204" || status == "304") {
        return Some(end);
    }
    if let Some(length) = field("content-length:") {
        let length = end + length.parse::<usize>().ok()?;
        return (buffer.len() >= length).then_some(length);
    }
    if field("transfer-encoding:").is_some() {
        let last = match text[end..].starts_with("0\r\n") {
            true => end,
            false => end + text[end..].find("\r\n0\r\n")? + 2,
        };
        let at = text[last..].find("\r\n\r\n")?;
        return Some(last + at + 4);
    }
    if response && field("connection:").as_deref() == Some("close") {
        return None;
    }
    Some(end)
}

async fn respond(socket: &mut TcpStream, request: &str) -> bool {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let ok = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let (answer, end) = match path {
        "/chunked" => ("HTTP/1.1 200 OK\r\ntransfer-ENCODING: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n".into(), false),
        "/close" => ("HTTP/1.1 200 OK\r\n\r\nuntil the end".into(), true),
        "/closing" => ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".into(), true),
        "/204" => ("HTTP/1.1 204 No Content\r\n\r\n".into(), false),
        "/304" => ("HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n".into(), false),
        "/bare" => ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok".into(), false),
        "/both" => ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok".into(), false),
        "/unasked" => ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".into(), false),
        "/once" => (ok("once"), true),
        "/big" => (ok(&"0123456789".repeat(200_000)), false),
        "/hint" => (format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{}", ok("hinted")), false),
        "/server" => ("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok".into(), false),
        "/ws" => ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".into(), false),
        _ if request.starts_with("HEAD") => ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n".into(), false),
        _ => (ok(path), false),
    };
    socket.write_all(answer.as_bytes()).await.is_ok() && !end
}

impl Web {
    async fn start() -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&seen);
        actix::spawn(async move {
            let mut number = 0;
            while let Ok((socket, _)) = listener.accept().await {
                number += 1;
                actix::spawn(Self::connection(socket, number, Rc::clone(&log)));
            }
        });
        Web { address, seen }
    }

    async fn connection(
        mut socket: TcpStream,
        number: usize,
        seen: Rc<RefCell<Vec<(usize, String)>>>,
    ) {
        let mut buffer = Vec::new();
        while let Some(request) = message(&mut socket, &mut buffer, false).await {
            if request.contains("100-continue")
                && request.contains("\r\n\r\n")
                && request.ends_with("\r\n\r\n")
            {
                let _ = socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            let upgrade = request.starts_with("GET /ws ");
            seen.borrow_mut().push((number, request.clone()));
            if !respond(&mut socket, &request).await {
                return;
            }
            if upgrade {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                return;
            }
        }
    }

    fn requests(&self) -> Vec<String> {
        self.seen
            .borrow()
            .iter()
            .map(|(_, text)| text.clone())
            .collect()
    }

    fn connections(&self) -> Vec<usize> {
        self.seen
            .borrow()
            .iter()
            .map(|(number, _)| *number)
            .collect()
    }
}

/// A running relay in front of web servers, one table each.
struct Setup {
    running: Running,
    address: SocketAddr,
}

async fn relay(webs: &[&Web], change: impl FnOnce(&mut Protocol)) -> Setup {
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    b.config.globals.log.connection = true;
    let protocol = b.protocol("http", ProtocolKind::Http);
    change(protocol);
    let protocol = protocol.id;
    let names = ["main", "other"];
    let tables: Vec<_> = webs
        .iter()
        .zip(names)
        .map(|(web, name)| (b.table(name, Check::None, &[web.address]), Mode::RoundRobin))
        .collect();
    b.relay("www", address, &tables).protocol = protocol;
    let running = Running::start(
        0,
        &b.config,
        vec![(Slot::Relay(RelayId(1)), fd)],
        RunState::default(),
    )
    .await;
    Setup { running, address }
}

struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(setup: &Setup) -> Client {
        let socket = within("connect", TcpStream::connect(setup.address))
            .await
            .unwrap();
        Client {
            socket,
            buffer: Vec::new(),
        }
    }

    async fn send(&mut self, text: &str) {
        within("send", self.socket.write_all(text.as_bytes()))
            .await
            .unwrap();
    }

    async fn response(&mut self) -> String {
        within(
            "a response",
            message(&mut self.socket, &mut self.buffer, true),
        )
        .await
        .unwrap_or_default()
    }

    async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.response().await
    }

    /// All until the relay closes.
    async fn end(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.buffer);
        let _ = within("the end", self.socket.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Sends bytes on a connection of their own; answers everything that comes back.
async fn once(setup: &Setup, text: &str) -> String {
    let mut client = Client::connect(setup).await;
    client.send(text).await;
    client.end().await
}

fn rule(
    action: Action,
    direction: Direction,
    keys: &[(KeyKind, KeyOp, &str, Option<&str>)],
) -> Rule {
    Rule {
        line: 1,
        action,
        direction,
        quick: false,
        family: None,
        from: None,
        to: None,
        method: None,
        keys: keys
            .iter()
            .map(|(kind, op, name, value)| Key {
                kind: *kind,
                op: *op,
                pattern: Pattern::One((*name).to_owned()),
                value: value.map(str::to_owned),
                lua: false,
            })
            .collect(),
        strip: None,
        forward: None,
        tag: Change::Keep,
        tagged: None,
        label: Change::Keep,
        legacy: None,
    }
}

use Direction::{Request, Response};

#[actix::test]
async fn requests_share_connections_on_both_sides() {
    let log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    let wire = "GET /a HTTP/1.1\r\nhOST: h\r\nX-B: 1\r\nA: 2\r\n\r\n";
    let answer = client.ask(wire).await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/a");
    assert!(
        client
            .ask("GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .ends_with("/b")
    );
    // Order and spelling are the client's.
    assert_eq!(web.requests()[0], wire);
    // Another client gets the same server connection, though it ends its own.
    let end = once(&setup, "GET /c HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(
        end,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n/c"
    );
    assert_eq!(web.requests()[2], "GET /c HTTP/1.1\r\n\r\n");
    assert_eq!(web.connections(), [1, 1, 1]);
    drop(client);
    let line = log.until("session 1 ").await;
    assert_eq!(
        line,
        format!(
            "INFO relay www, session 1 (0 active), 0, 127.0.0.1 -> {}, done, GET GET",
            web.address
        )
    );
    setup.running.stop().await;
}

#[actix::test]
async fn without_the_pool_each_client_has_its_own_connection() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |p| p.http.pool = false).await;
    let mut one = Client::connect(&setup).await;
    let mut two = Client::connect(&setup).await;
    for client in [&mut one, &mut two] {
        client.ask("GET /a HTTP/1.1\r\n\r\n").await;
        client.ask("GET /b HTTP/1.1\r\n\r\n").await;
    }
    assert_eq!(web.connections(), [1, 1, 2, 2]);
    setup.running.stop().await;
}

#[actix::test]
async fn every_framing_passes() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    for (request, answer) in [
        (
            "GET /chunked HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-ENCODING: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
        (
            "HEAD /x HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
        ),
        (
            "GET /204 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            "GET /304 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
        ),
        (
            "GET /bare HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "GET /closing HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "PUT /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/p",
        ),
        (
            "QUERY /q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/q",
        ),
        (
            "GET /close HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        ),
    ] {
        if request.starts_with("HEAD") {
            client.send(request).await;
            let mut head = vec![0; answer.len()];
            within("head", client.socket.read_exact(&mut head))
                .await
                .unwrap();
            assert_eq!(String::from_utf8(head).unwrap(), answer);
            continue;
        }
        let got = client.ask(request).await;
        assert_eq!(got, answer);
    }
    assert_eq!(client.end().await, "");
    assert!(web.requests()[7].ends_with("3;ext=1\r\nabc\r\n0\r\n\r\n"));
    setup.running.stop().await;
}

#[actix::test]
async fn pipelined_requests_are_answered_in_order() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    client
        .send("GET /1 HTTP/1.1\r\n\r\nPUT /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /3 HTTP/1.1\r\n\r\nGET /4 HT")
        .await;
    for path in ["/1", "/2", "/3"] {
        assert!(client.response().await.ends_with(path));
    }
    client.send("TP/1.1\r\n\r\n").await;
    assert!(client.response().await.ends_with("/4"));
    setup.running.stop().await;
}

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
async fn a_body_on_get_is_dropped_and_never_a_request() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    let inner = "GET /evil HTTP/1.1\r\n\r\n";
    let request = format!(
        "GET /a HTTP/1.1\r\nContent-Length: {}\r\nX: 1\r\n\r\n{inner}",
        inner.len()
    );
    assert!(client.ask(&request).await.ends_with("/a"));
    client
        .send("GET /b HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let mut both = client.response().await;
    client.send("body").await;
    both.push_str(&client.response().await);
    assert!(
        both.contains("100 Continue") && both.ends_with("/b"),
        "{both}"
    );
    assert_eq!(
        web.requests(),
        ["GET /a HTTP/1.1\r\nX: 1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"]
    );
    setup.running.stop().await;
    let setup = relay(&[&web], |p| p.http.forward_body = true).await;
    once(
        &setup,
        "GET /c HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
    )
    .await;
    assert_eq!(
        web.requests()[2],
        "GET /c HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
    );
    setup.running.stop().await;
}

#[actix::test]
async fn interim_responses_pass() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    assert_eq!(
        client.ask("GET /hint HTTP/1.1\r\n\r\n").await,
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    );
    assert!(client.response().await.ends_with("hinted"));
    let old = once(&setup, "GET /hint HTTP/1.0\r\n\r\n").await;
    assert!(
        old.starts_with("HTTP/1.1 200") && old.ends_with("hinted"),
        "{old}"
    );
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
async fn a_stale_connection_is_replaced() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    for _ in 0..3 {
        // The server closes after its answer, without a word.
        assert!(
            client
                .ask("GET /once HTTP/1.1\r\n\r\n")
                .await
                .ends_with("once")
        );
    }
    assert_eq!(web.connections(), [1, 2, 3]);
    setup.running.stop().await;
}

#[actix::test]
async fn big_bodies_pass_whatever_the_speed_of_the_client() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    client.send("GET /big HTTP/1.1\r\n\r\n").await;
    // The client does not read until much of the body waits for it.
    let mut waiting = vec![0; 64 * 1024];
    let length = waiting.len();
    within("much of the body", async {
        while client.socket.peek(&mut waiting).await.unwrap() < length {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answer = client.response().await;
    assert_eq!(
        answer.len(),
        2_000_000 + "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n".len()
    );
    assert!(answer.ends_with("0123456789"));
    let body = "abcdefghij".repeat(100_000);
    let put = format!(
        "PUT /up HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(client.ask(&put).await.ends_with("/up"));
    assert!(web.requests()[1].ends_with(&body));
    // A body that was spliced leaves its connection as fit for the next request as any other.
    client.ask("GET /big HTTP/1.1\r\n\r\n").await;
    client.ask("GET /a HTTP/1.1\r\n\r\n").await;
    assert_eq!(web.connections(), [1, 1, 1, 1]);
    setup.running.stop().await;
}

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
async fn websockets_become_a_tunnel() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |p| {
        p.http.websockets = true;
        p.return_error = true;
    })
    .await;
    let mut client = Client::connect(&setup).await;
    let request =
        "GET /ws HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n";
    let answer = client.ask(request).await;
    assert_eq!(
        answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    );
    assert_eq!(web.requests(), [request]);
    client.send("raw bytes\0\r\n").await;
    let mut echo = [0; 12];
    within("echo", client.socket.read_exact(&mut echo))
        .await
        .unwrap();
    assert_eq!(&echo, b"raw bytes\0\r\n");
    for (request, status) in [
        ("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "400"),
        (
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: up\r\n\r\n",
            "400",
        ),
        (
            "POST /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "405",
        ),
    ] {
        let answer = once(&setup, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.0 {status} ")),
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

#[actix::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let _log = Log::start();
    // A server that answers at once and closes without reading the body.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut web = Web::start().await;
    web.address = listener.local_addr().unwrap();
    actix::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 64];
            let _ = socket.read(&mut head).await;
            let _ = socket
                .write_all(
                    b"HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
                )
                .await;
        }
    });
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    client
        .send("POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    let chunk = "x".repeat(100_000);
    for _ in 0..20 {
        if client.socket.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let answer = client.response().await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big"),
        "{answer}"
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

#[actix::test]
async fn a_client_may_end_its_side_and_still_get_the_answer() {
    let _log = Log::start();
    let web = Web::start().await;
    let setup = relay(&[&web], |_| ()).await;
    let mut client = Client::connect(&setup).await;
    client.send("GET /half HTTP/1.1\r\n\r\n").await;
    client.socket.shutdown().await.unwrap();
    assert!(client.end().await.ends_with("/half"));
    setup.running.stop().await;
}

#[actix::test]
async fn a_drained_or_dead_host_loses_the_next_request_only() {
    let _log = Log::start();
    let (one, two) = (Web::start().await, Web::start().await);
    let (address, fd) = bind("127.0.0.1:0");
    let mut b = Builder::new();
    let protocol = b.protocol("http", ProtocolKind::Http).id;
    let check = Check::Tcp { tls: false };
    let main = b.table("main", check.clone(), &[one.address]);
    let backup = b.table("backup", check, &[two.address]);
    b.relay(
        "www",
        address,
        &[(main, Mode::RoundRobin), (backup, Mode::RoundRobin)],
    )
    .protocol = protocol;
    let state = RunState {
        hosts: vec![up(1), up(2)],
        ..RunState::default()
    };
    let mut running =
        Running::start(0, &b.config, vec![(Slot::Relay(RelayId(1)), fd)], state).await;
    let mut client = Client {
        socket: within("connect", TcpStream::connect(address))
            .await
            .unwrap(),
        buffer: Vec::new(),
    };
    client.ask("GET /1 HTTP/1.1\r\n\r\n").await;
    client.ask("GET /2 HTTP/1.1\r\n\r\n").await;
    running.hosts(vec![down(1)]).await;
    running.sessions().await;
    client.ask("GET /3 HTTP/1.1\r\n\r\n").await;
    assert_eq!((one.requests().len(), two.requests().len()), (2, 1));
    running.stop().await;
}
