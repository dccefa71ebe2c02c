//! Servers that say who they are and can be stopped, started and hung.

use super::netns::Netns;
use super::ports::port;
use super::wait;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a blocked thread takes to see that its server was stopped.
const TICK: Duration = Duration::from_millis(100);

/// What a TCP server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1 with keep-alive. `/` answers the name, `/head` the request's head, `/big/N` N bytes, `/chunked` chunks,
    /// anything else the method, a blank and the path.
    Http,
    /// The name and a newline first, then every byte back.
    Echo,
}

#[derive(Debug)]
struct Shared {
    name: String,
    speech: Speech,
    running: AtomicBool,
    hung: AtomicBool,
    status: AtomicU16,
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    open: Mutex<Vec<Option<TcpStream>>>,
}

/// A TCP server on threads.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    netns: Option<String>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// An HTTP server on a free port of 127.0.0.1.
    pub fn http(name: &str) -> Server {
        Self::at(name, Speech::Http, (Ipv4Addr::LOCALHOST, port()).into())
    }

    /// An echo server on a free port of 127.0.0.1.
    pub fn echo(name: &str) -> Server {
        Self::at(name, Speech::Echo, (Ipv4Addr::LOCALHOST, port()).into())
    }

    /// A server on an address.
    pub fn at(name: &str, speech: Speech, address: SocketAddr) -> Server {
        Self::create(name, speech, address, None)
    }

    /// A server on an address inside a network namespace.
    pub fn inside(netns: &Netns, name: &str, speech: Speech, address: SocketAddr) -> Server {
        Self::create(name, speech, address, Some(netns.name().to_owned()))
    }

    /// One server per name, all on one free port, on 127.0.0.1, 127.0.0.2 and so on (Linux answers on all of them).
    pub fn row(speech: Speech, names: &[&str]) -> Vec<Server> {
        let port = port();
        names
            .iter()
            .zip(1u8..)
            .map(|(name, last)| {
                Self::at(name, speech, (Ipv4Addr::new(127, 0, 0, last), port).into())
            })
            .collect()
    }

    fn create(name: &str, speech: Speech, address: SocketAddr, netns: Option<String>) -> Server {
        let mut server = Server {
            address,
            netns,
            shared: Arc::new(Shared {
                name: name.to_owned(),
                speech,
                running: AtomicBool::new(false),
                hung: AtomicBool::new(false),
                status: AtomicU16::new(200),
                connections: AtomicUsize::new(0),
                requests: Mutex::default(),
                open: Mutex::default(),
            }),
            thread: None,
        };
        server.start();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its name, the body of `/`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Listens (again).
    pub fn start(&mut self) {
        if self.thread.is_some() {
            return;
        }
        self.shared.running.store(true, SeqCst);
        let (shared, address, netns) = (self.shared.clone(), self.address, self.netns.clone());
        let (ready, listening) = mpsc::channel();
        self.thread = Some(std::thread::spawn(move || {
            enter(netns.as_deref());
            let listener = listen(address);
            let _ = ready.send(());
            accept(&shared, &listener);
        }));
        listening.recv().expect("the server could not listen");
    }

    /// Closes the listener and every connection, as if the program had been killed.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.shared.running.store(false, SeqCst);
        if self.netns.is_none() {
            // Wakes `accept` where no time-out bounds it.
            let _ = TcpStream::connect_timeout(&self.address, TICK);
        }
        thread.join().unwrap();
        self.close_connections();
    }

    /// Closes every open connection.
    pub fn close_connections(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..).flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// While hung, the kernel still accepts connections but nothing is read or answered.
    pub fn hang(&self, hung: bool) {
        self.shared.hung.store(hung, SeqCst);
    }

    /// HTTP status of all answers from now on.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, SeqCst);
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Heads of the HTTP requests received so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hang(false);
        self.stop();
    }
}

fn enter(netns: Option<&str>) {
    #[cfg(target_os = "linux")]
    if let Some(name) = netns {
        let namespace = std::fs::File::open(format!("/run/netns/{name}")).expect(name);
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
    }
    #[cfg(not(target_os = "linux"))]
    assert!(netns.is_none(), "no network namespaces here");
}

fn listen(address: SocketAddr) -> TcpListener {
    // The address may need a moment after its interface came up, the port after a restart.
    let listener = wait::until(&format!("listen on {address}"), || {
        TcpListener::bind(address).ok()
    });
    // On Linux this bounds `accept`, so that the thread sees that it shall end.
    let _ = socket2::SockRef::from(&listener).set_read_timeout(Some(TICK));
    listener
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while shared.running.load(SeqCst) {
        if shared.hung.load(SeqCst) {
            wait::step();
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if !shared.running.load(SeqCst) {
            return;
        }
        shared.connections.fetch_add(1, SeqCst);
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(TICK)).unwrap();
        shared.open.lock().unwrap().push(stream.try_clone().ok());
        let shared = shared.clone();
        std::thread::spawn(move || {
            match shared.speech {
                Speech::Http => drop(http(&shared, &stream)),
                Speech::Echo => drop(echo(&shared, &stream)),
            }
            let _ = stream.shutdown(Shutdown::Both);
            shared.open.lock().unwrap().retain(|other| {
                other
                    .as_ref()
                    .is_some_and(|other| other.peer_addr().is_ok())
            });
        });
    }
}

/// Reads, going on over time-outs while the server runs. 0 = end.
fn read(shared: &Shared, mut stream: &TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        if !shared.running.load(SeqCst) {
            return Ok(0);
        }
        if shared.hung.load(SeqCst) {
            wait::step();
            continue;
        }
        match stream.read(buffer) {
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock
                        | std::io::ErrorKind::TimedOut
                        | std::io::ErrorKind::Interrupted
                ) => {}
            other => return other,
        }
    }
}

fn echo(shared: &Shared, mut stream: &TcpStream) -> std::io::Result<()> {
    while shared.hung.load(SeqCst) && shared.running.load(SeqCst) {
        wait::step();
    }
    stream.write_all(format!("{}\n", shared.name).as_bytes())?;
    let mut buffer = vec![0; 65_536];
    loop {
        let count = read(shared, stream, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}

fn http(shared: &Shared, mut stream: &TcpStream) -> std::io::Result<()> {
    let mut pending = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let end = loop {
            if let Some(at) = pending.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let count = read(shared, stream, &mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            pending.extend_from_slice(&buffer[..count]);
        };
        let head = String::from_utf8_lossy(&pending[..end]).into_owned();
        pending.drain(..end);
        let mut body = header(&head, "content-length")
            .and_then(|v| v.parse::<usize>().ok())
            .unwrap_or(0);
        while body > 0 {
            if pending.is_empty() {
                let count = read(shared, stream, &mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                pending.extend_from_slice(&buffer[..count]);
            }
            let part = body.min(pending.len());
            pending.drain(..part);
            body -= part;
        }
        let last = head.contains("HTTP/1.0")
            || header(&head, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        shared.requests.lock().unwrap().push(head.clone());
        stream.write_all(&answer(shared, &head, last))?;
        if last {
            return Ok(());
        }
    }
}

/// Value of a header in a head, by its lower-case name.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn answer(shared: &Shared, head: &str, last: bool) -> Vec<u8> {
    let mut words = head.split_whitespace();
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let status = shared.status.load(SeqCst);
    let close = if last { "Connection: close\r\n" } else { "" };
    let start = format!(
        "HTTP/1.1 {status} Test\r\nServer: {}\r\nContent-Type: text/plain\r\n{close}",
        shared.name
    );
    if path == "/chunked" {
        let body = "3\r\none\r\n5\r\n, two\r\n0\r\n\r\n";
        return format!("{start}Transfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
    }
    let body = match path {
        "/" => format!("{}\n", shared.name),
        "/head" => head.to_owned(),
        _ => match path.strip_prefix("/big/").and_then(|n| n.parse().ok()) {
            Some(length) => "x".repeat(length),
            None => format!("{method} {path}\n"),
        },
    };
    let start = format!("{start}Content-Length: {}\r\n\r\n", body.len());
    if method == "HEAD" {
        start.into_bytes()
    } else {
        (start + &body).into_bytes()
    }
}

/// A UDP server: answers `NAME:` and what it got.
#[derive(Debug)]
pub struct UdpServer {
    address: SocketAddr,
    running: Arc<AtomicBool>,
    packets: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl UdpServer {
    /// A server on an address.
    pub fn at(name: &str, address: SocketAddr) -> UdpServer {
        let name = name.to_owned();
        Self::serve(address, None, move |packet| {
            let mut answer = format!("{name}:").into_bytes();
            answer.extend_from_slice(packet);
            Some(answer)
        })
    }

    /// A server on an address inside a network namespace.
    pub fn inside(netns: &Netns, name: &str, address: SocketAddr) -> UdpServer {
        let name = name.to_owned();
        Self::serve(address, Some(netns.name().to_owned()), move |packet| {
            let mut answer = format!("{name}:").into_bytes();
            answer.extend_from_slice(packet);
            Some(answer)
        })
    }

    fn serve(
        address: SocketAddr,
        netns: Option<String>,
        answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> UdpServer {
        let running = Arc::new(AtomicBool::new(true));
        let packets = Arc::new(AtomicUsize::new(0));
        let (go, count) = (running.clone(), packets.clone());
        let (ready, listening) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            enter(netns.as_deref());
            let socket = wait::until(&format!("bind {address}"), || UdpSocket::bind(address).ok());
            socket.set_read_timeout(Some(TICK)).unwrap();
            let _ = ready.send(());
            let mut buffer = vec![0; 65_536];
            while go.load(SeqCst) {
                if let Ok((length, client)) = socket.recv_from(&mut buffer) {
                    count.fetch_add(1, SeqCst);
                    if let Some(answer) = answer(&buffer[..length]) {
                        let _ = socket.send_to(&answer, client);
                    }
                }
            }
        });
        listening.recv().expect("the server could not bind");
        UdpServer {
            address,
            running,
            packets,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Packets received so far.
    pub fn packets(&self) -> usize {
        self.packets.load(SeqCst)
    }

    /// Closes the socket.
    pub fn stop(&mut self) {
        self.running.store(false, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A DNS server over UDP: answers every question for an address with its own one.
#[derive(Debug)]
pub struct DnsServer(UdpServer);

impl DnsServer {
    /// A server on an address that answers with `record`.
    pub fn at(address: SocketAddr, record: Ipv4Addr) -> DnsServer {
        DnsServer(UdpServer::serve(address, None, move |query| {
            dns_answer(query, record)
        }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Queries received so far.
    pub fn queries(&self) -> usize {
        self.0.packets()
    }

    /// Closes the socket.
    pub fn stop(&mut self) {
        self.0.stop();
    }
}

fn dns_answer(query: &[u8], record: Ipv4Addr) -> Option<Vec<u8>> {
    // Header of 12 bytes, then labels, a zero, type and class.
    let name = query.get(12..)?.iter().position(|b| *b == 0)?;
    let question = query.get(12..12 + name + 5)?;
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(question);
    // The name by reference, type A, class IN, 60 s, 4 bytes.
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend(record.octets());
    Some(answer)
}
