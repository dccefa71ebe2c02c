//! Web servers, relays in front of them and clients on raw sockets.

use crate::support::*;
use actors::link::{RunState, Slot};
use conf::model::{
    Action, Change, Check, Direction, Key, KeyKind, KeyOp, Mode, Pattern, Protocol, ProtocolKind,
    RelayId, Rule,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A web server that remembers what it got and answers by path.
pub struct Web {
    pub address: SocketAddr,
    /// Whole requests, by connection number.
    pub seen: Rc<RefCell<Vec<(usize, String)>>>,
}

/// Reads a message with its body; `None` at the end of the connection.
pub async fn message(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
    response: bool,
) -> Option<String> {
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

pub fn whole(buffer: &[u8], response: bool) -> Option<usize> {
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

pub async fn respond(socket: &mut TcpStream, request: &str) -> bool {
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
    pub async fn start() -> Web {
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

    pub fn requests(&self) -> Vec<String> {
        self.seen
            .borrow()
            .iter()
            .map(|(_, text)| text.clone())
            .collect()
    }

    pub fn connections(&self) -> Vec<usize> {
        self.seen
            .borrow()
            .iter()
            .map(|(number, _)| *number)
            .collect()
    }
}

/// A running relay in front of web servers, one table each.
pub struct Setup {
    pub running: Running,
    pub address: SocketAddr,
}

pub async fn relay(webs: &[&Web], change: impl FnOnce(&mut Protocol)) -> Setup {
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

pub struct Client {
    pub socket: TcpStream,
    pub buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(setup: &Setup) -> Client {
        let socket = within("connect", TcpStream::connect(setup.address))
            .await
            .unwrap();
        Client {
            socket,
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, text: &str) {
        within("send", self.socket.write_all(text.as_bytes()))
            .await
            .unwrap();
    }

    pub async fn response(&mut self) -> String {
        within(
            "a response",
            message(&mut self.socket, &mut self.buffer, true),
        )
        .await
        .unwrap_or_default()
    }

    pub async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.response().await
    }

    /// All until the relay closes.
    pub async fn end(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.buffer);
        let _ = within("the end", self.socket.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Sends bytes on a connection of their own; answers everything that comes back.
pub async fn once(setup: &Setup, text: &str) -> String {
    let mut client = Client::connect(setup).await;
    client.send(text).await;
    client.end().await
}

pub fn rule(
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
