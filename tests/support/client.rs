//! Clients: HTTP on a raw socket, an echo client, curl and relayctl.

use super::servers::header;
use super::wait::BOUND;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// Body.
    pub body: String,
}

impl Response {
    /// Value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// An HTTP client that keeps its connection.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
    local: SocketAddr,
}

impl Http {
    /// Connects.
    pub fn connect(to: SocketAddr) -> std::io::Result<Http> {
        let stream = connect(to)?;
        let local = stream.local_addr()?;
        Ok(Http {
            stream: BufReader::new(stream),
            local,
        })
    }

    /// The client's own address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a request without body; `headers` are whole lines.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[&str]) -> std::io::Result<Response> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        for line in headers {
            request += line;
            request += "\r\n";
        }
        request += "\r\n";
        self.send(request.as_bytes())?;
        self.answer(method)
    }

    /// Reads one answer.
    pub fn answer(&mut self, method: &str) -> std::io::Result<Response> {
        let mut head = String::new();
        loop {
            let before = head.len();
            if self.stream.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if &head[before..] == "\r\n" {
                break;
            }
        }
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or(std::io::ErrorKind::InvalidData)?;
        let mut body = Vec::new();
        if method == "HEAD" || status == 204 || status == 304 || status / 100 == 1 {
        } else if header(&head, "transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim(), 16)
                    .map_err(|_| std::io::ErrorKind::InvalidData)?;
                let mut chunk = vec![0; size + 2];
                self.stream.read_exact(&mut chunk)?;
                if size == 0 {
                    break;
                }
                body.extend(&chunk[..size]);
            }
        } else if let Some(length) = header(&head, "content-length") {
            body = vec![
                0;
                length
                    .parse()
                    .map_err(|_| std::io::ErrorKind::InvalidData)?
            ];
            self.stream.read_exact(&mut body)?;
        } else {
            self.stream.read_to_end(&mut body)?;
        }
        Ok(Response {
            status,
            head,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Whether the other side closed the connection (waits for it).
    pub fn closed(&mut self) -> bool {
        let mut byte = [0];
        !matches!(self.stream.read(&mut byte), Ok(1..))
    }
}

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    set_up(TcpStream::connect_timeout(&to, BOUND)?)
}

fn set_up(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One HTTP request on a connection of its own.
pub fn get(to: SocketAddr, path: &str) -> std::io::Result<Response> {
    Http::connect(to)?.ask("GET", path, &["Connection: close"])
}

/// The name of the HTTP server that answers at `to`, if one does.
pub fn who(to: SocketAddr) -> Option<String> {
    let answer = get(to, "/").ok()?;
    (answer.status == 200).then(|| answer.body.trim().to_owned())
}

/// A client of an echo server.
#[derive(Debug)]
pub struct Echo {
    stream: TcpStream,
    /// Name of the server.
    pub name: String,
}

impl Echo {
    /// Connects and reads the server's name.
    pub fn connect(to: SocketAddr) -> std::io::Result<Echo> {
        Self::greeted(connect(to)?)
    }

    /// The same from one of several addresses.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> std::io::Result<Echo> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&to.into(), BOUND)?;
        Self::greeted(set_up(socket.into())?)
    }

    fn greeted(mut stream: TcpStream) -> std::io::Result<Echo> {
        let mut name = Vec::new();
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            if byte == *b"\n" {
                break;
            }
            name.extend(byte);
        }
        Ok(Echo {
            stream,
            name: String::from_utf8_lossy(&name).into_owned(),
        })
    }

    /// Sends bytes and reads them back.
    pub fn exchange(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        let mut back = vec![0; bytes.len()];
        self.stream.read_exact(&mut back)?;
        if back == bytes {
            Ok(())
        } else {
            Err(std::io::ErrorKind::InvalidData.into())
        }
    }

    /// Sends `total` bytes on a second thread while reading them back; answers whether all came back unchanged.
    pub fn bulk(&mut self, total: usize) -> std::io::Result<()> {
        let mut sender = self.stream.try_clone()?;
        let pattern: Vec<u8> = (0..=250u8).cycle().take(65_536).collect();
        let sent = pattern.clone();
        let writer = std::thread::spawn(move || -> std::io::Result<()> {
            let mut left = total;
            while left > 0 {
                let part = left.min(sent.len());
                sender.write_all(&sent[..part])?;
                left -= part;
            }
            Ok(())
        });
        let mut buffer = vec![0; 65_536];
        let mut left = total;
        while left > 0 {
            let part = left.min(buffer.len());
            self.stream.read_exact(&mut buffer[..part])?;
            if buffer[..part] != pattern[..part] {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            left -= part;
        }
        writer.join().unwrap()
    }

    /// Whether the other side closed the connection (waits for it).
    pub fn closed(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0]), Ok(1..))
    }

    /// The client's own address.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }
}

/// What a program answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end; one that does not end is killed and answers -1.
pub fn run(command: &mut Command) -> Answer {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = super::wait::within_or_none(BOUND, || child.try_wait().unwrap());
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    Answer {
        code: status.and_then(|s| s.code()).unwrap_or(-1),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs relayctl against a control socket.
pub fn relayctl(socket: &Path, words: &[&str]) -> Answer {
    run(Command::new(env!("CARGO_BIN_EXE_relayctl"))
        .arg("-s")
        .arg(socket)
        .args(words))
}

/// Runs curl, silent, with a bound.
pub fn curl(words: &[&str]) -> Answer {
    run(Command::new("curl")
        .args(["-sS", "--max-time", "20"])
        .args(words))
}

/// Sends a datagram and waits for the answer, up to `bound`.
pub fn datagram(to: SocketAddr, bytes: &[u8], bound: Duration) -> std::io::Result<Vec<u8>> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(bound))?;
    socket.send(bytes)?;
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}
