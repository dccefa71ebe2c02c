//! WebSocket through HTTP relays: a real client and a real server, both directions, the end of one, and refusals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use support::client::Http;
use support::{BOUND, Daemon, Scratch, Server, port, wait};
use tungstenite::handshake::HandshakeError;
use tungstenite::{Error, Message, WebSocket};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A server that greets, echoes every message and says `bye` when the client has ended its direction. It ends with
/// the process.
fn serve() -> u16 {
    let at = port();
    let listener = TcpListener::bind(local(at)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // A check connects and says nothing.
                if let Ok(socket) = tungstenite::accept(stream) {
                    echo(socket);
                }
            });
        }
    });
    at
}

fn echo(mut socket: WebSocket<TcpStream>) {
    socket.send(Message::text("welcome")).unwrap();
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                if socket.send(message).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(Error::Protocol(_)) => {
                // A text frame, by hand: the library writes no more.
                let _ = socket.get_mut().write_all(b"\x81\x03bye");
                return;
            }
            Err(_) => return,
        }
    }
}

type Shake = Result<WebSocket<TcpStream>, Box<Error>>;

fn connect(at: u16, path: &str) -> Shake {
    let stream = TcpStream::connect_timeout(&local(at), BOUND).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    match tungstenite::client(format!("ws://127.0.0.1:{at}{path}"), stream) {
        Ok((socket, answer)) => {
            assert_eq!(answer.status(), 101);
            assert_eq!(answer.headers()["x-balancer"], "relayd");
            Ok(socket)
        }
        Err(HandshakeError::Failure(error)) => Err(Box::new(error)),
        Err(HandshakeError::Interrupted(_)) => panic!("no answer to the handshake"),
    }
}

/// A daemon with a relay to `server`; `option` is a line of its protocol, `log` one of the relay.
fn daemon(at: u16, server: u16, option: &str, log: &str) -> Daemon {
    let daemon = Daemon::start(&format!(
        "interval 1\ntimeout 500\nprefork 1\nlog connection
table <t> {{ 127.0.0.1 }}
http protocol chat {{
	return error
	{option}
	match response header set \"X-Balancer\" value \"relayd\"
}}
relay chat {{
	listen on 127.0.0.1 port {at}
	protocol chat
	{log}
	forward to <t> port {server} check tcp
}}
"
    ));
    daemon.wait_status("host", "127.0.0.1", "up");
    daemon
}

#[test]
fn messages_pass_both_ways_and_either_side_may_end() {
    let (at, scratch) = (port(), Scratch::new());
    let file = scratch.path("access.json");
    let log = format!("log access json to file \"{}\"", file.display());
    let daemon = daemon(at, serve(), "http websockets", &log);
    let mut socket = connect(at, "/room?key=secret").unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("welcome"));
    socket.send(Message::text("hällo")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hällo"));
    // A long message goes and comes at the same time as others wait behind it.
    let long = Message::binary(vec![7u8; 3 * 1024 * 1024]);
    let (sent, mut writer) = (long.clone(), socket.get_ref().try_clone().unwrap());
    socket.send(Message::text("before")).unwrap();
    let config = Default::default();
    let sender = std::thread::spawn(move || {
        let role = tungstenite::protocol::Role::Client;
        let mut socket = WebSocket::from_raw_socket(&mut writer, role, Some(config));
        socket.send(sent)
    });
    assert_eq!(socket.read().unwrap(), Message::text("before"));
    assert_eq!(socket.read().unwrap(), long);
    sender.join().unwrap().unwrap();
    socket
        .send(Message::Ping(b"are you there"[..].into()))
        .unwrap();
    assert_eq!(
        socket.read().unwrap(),
        Message::Pong(b"are you there"[..].into())
    );
    socket.close(None).unwrap();
    wait::until("the end of the handshake", || match socket.read() {
        Err(Error::ConnectionClosed | Error::AlreadyClosed) => Some(()),
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    });
    drop(socket);
    daemon.wait_line("relay chat, session 1 (0 active)");
    let line = wait::until("the access log", || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.lines().next().map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["http"]["status"], 101);
    assert_eq!(line["http"]["target"], "/room?key=*");
    assert!(
        line["bytes_in"].as_u64().unwrap() > 3 * 1024 * 1024,
        "{line}"
    );
    assert!(
        line["bytes_out"].as_u64().unwrap() > 3 * 1024 * 1024,
        "{line}"
    );

    // A client that ends its direction still hears the server.
    let mut socket = connect(at, "/").unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("welcome"));
    socket.send(Message::text("last")).unwrap();
    socket.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("last"));
    assert_eq!(socket.read().unwrap(), Message::text("bye"));
}

#[test]
fn without_the_option_or_the_servers_consent_there_is_no_tunnel() {
    let (at, plain) = (port(), port());
    let refusing = daemon(at, serve(), "", "");
    assert!(connect(at, "/").is_err());
    let wish = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let mut client = Http::connect(local(at)).unwrap();
    assert_eq!(client.ask("GET", "/", &wish).unwrap().status, 403);
    assert!(client.closed());
    refusing.wait_line("(403 Forbidden)");
    // The server knows no WebSocket: its answer is an answer, and the connection goes on as HTTP.
    let server = Server::http("one");
    let _daemon = daemon(plain, server.port(), "http websockets", "");
    let mut client = Http::connect(local(plain)).unwrap();
    let answer = client.ask("GET", "/head", &wish).unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("Upgrade: websocket"),
        "{}",
        answer.body
    );
    assert_eq!(
        client.ask("GET", "/after", &[]).unwrap().body,
        "GET /after\n"
    );
}
