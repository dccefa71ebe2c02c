//! A server that says anything.

use crate::local;
use crate::support::port;
use crate::support::servers::header;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// A server that answers by the path, byte for byte. It ends with the process.
#[derive(Debug, Default)]
pub struct Script {
    /// Heads and bodies of the requests.
    pub seen: Mutex<Vec<String>>,
    /// Connections that sent a request.
    pub connections: AtomicUsize,
}

impl Script {
    pub fn start() -> (u16, Arc<Script>) {
        let (at, script) = (port(), Arc::new(Script::default()));
        let listener = TcpListener::bind(local(at)).unwrap();
        let shared = script.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        (at, script)
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut out = stream.try_clone().ok()?;
        let mut input = BufReader::new(stream);
        let mut first = true;
        let mut stale = false;
        loop {
            let head = head(&mut input)?;
            if stale {
                // The connection ends when it is used again, without an answer.
                return None;
            }
            if std::mem::take(&mut first) {
                self.connections.fetch_add(1, SeqCst);
            }
            let path = head.split(' ').nth(1)?.to_owned();
            if header(&head, "expect").is_some() {
                out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
            }
            let body = body(&mut input, &head)?;
            self.seen.lock().unwrap().push(format!("{head}{body}"));
            stale = path == "/stale";
            out.write_all(&answer(&path, &head, &body)).ok()?;
            if path == "/until-close" {
                return None;
            }
        }
    }

    pub fn last(&self) -> String {
        self.seen
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

/// A request head; `None` at the end.
fn head(input: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if input.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// A request body as it came.
fn body(input: &mut BufReader<TcpStream>, head: &str) -> Option<String> {
    let mut body = String::new();
    if header(head, "transfer-encoding").is_some() {
        while !body.ends_with("0\r\n\r\n") {
            input.read_line(&mut body).ok()?;
        }
    } else if let Some(length) = header(head, "content-length") {
        let mut bytes = vec![0; length.parse().ok()?];
        input.read_exact(&mut bytes).ok()?;
        body = String::from_utf8(bytes).ok()?;
    }
    Some(body)
}

fn answer(path: &str, head: &str, body: &str) -> Vec<u8> {
    match path {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n".to_vec(),
        "/hints" => b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        "/trailers" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3;x=y\r\none\r\n0\r\nX-Sum: 1\r\n\r\n".to_vec(),
        "/until-close" => b"HTTP/1.1 200 OK\r\n\r\nto the end".to_vec(),
        "/both" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok".to_vec(),
        "/fold" => b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/blank" => b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/mixed" => b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n".to_vec(),
        "/gzip" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_vec(),
        "/old-chunks" => b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        "/full-204" => b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        "/chunked-204" => b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        "/full-100" => b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        "/unasked" => b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".to_vec(),
        "/status" => b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/version" => b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/bare" => b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nbare".to_vec(),
        "/two-lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na".to_vec(),
        _ => {
            let method = head.split(' ').next().unwrap_or_default();
            let text = format!("{method} {path} {}", body.len());
            let sent = if method == "HEAD" { "" } else { &text };
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{sent}", text.len()).into_bytes()
        }
    }
}
