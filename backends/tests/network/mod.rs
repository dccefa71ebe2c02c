//! A small network for tests: a client, a balancer and servers, each in its own network namespace.
//! Owns the namespaces (removed on drop), servers that say their name, and clients.
//! Must never touch the namespace the test runs in.
#![allow(dead_code)]

pub mod services;

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Whether namespaces can be made; tests say why they skip.
pub fn possible() -> bool {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return false;
    }
    true
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("iproute2 is installed");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    fn new(role: &str) -> Namespace {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rd{}n{number}{role}", std::process::id());
        ip(&format!("netns add {name}"));
        let namespace = Namespace { name };
        // Without this, the first second of every interface is spent looking for duplicate addresses.
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0");
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0");
        namespace.ip("link set lo up");
        namespace
    }

    /// `ip` inside.
    pub fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name));
    }

    /// Enters with the calling thread.
    pub fn enter(&self) {
        let file = File::open(format!("/var/run/netns/{}", self.name)).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Runs something in a thread inside.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let name = self.name.clone();
        thread::spawn(move || {
            Namespace::enter_by_name(&name);
            work()
        })
    }

    fn enter_by_name(name: &str) {
        let file = File::open(format!("/var/run/netns/{name}")).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Writes a sysctl inside.
    pub fn sysctl(&self, path: &'static str, value: &'static str) {
        self.run(move || std::fs::write(format!("/proc/sys/{path}"), value))
            .join()
            .unwrap()
            .unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// Output of a program inside.
    pub fn output(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name, program])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The whole of `nft list table …`.
    pub fn listing(&self, family: &str, table: &str) -> String {
        self.output("nft", &["list", "table", family, table])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

/// Client – balancer – servers. Addresses: client 10.1.0.2 and fd01::2, balancer 10.1.0.1/10.2.0.1 and fd01::1/fd02::1,
/// virtual 192.0.2.100 and fdaa::100 on the balancer's loopback, servers 10.2.0.11 … and fd02::11 ….
#[derive(Debug)]
pub struct Network {
    pub client: Namespace,
    pub balancer: Namespace,
    pub servers: Vec<Namespace>,
}

/// The virtual addresses.
pub const VIRTUAL: [&str; 2] = ["192.0.2.100", "fdaa::100"];

impl Network {
    pub fn new(servers: usize) -> Network {
        let client = Namespace::new("c");
        let balancer = Namespace::new("b");
        ip(&format!(
            "link add e0 netns {} type veth peer name e0 netns {}",
            client.name, balancer.name
        ));
        client.ip("addr add 10.1.0.2/24 dev e0");
        client.ip("addr add fd01::2/64 dev e0 nodad");
        balancer.ip("addr add 10.1.0.1/24 dev e0");
        balancer.ip("addr add fd01::1/64 dev e0 nodad");
        balancer.ip("link add br0 type bridge");
        balancer.ip("addr add 10.2.0.1/24 dev br0");
        balancer.ip("addr add fd02::1/64 dev br0 nodad");
        for address in ["192.0.2.100/32", "fdaa::100/128"] {
            balancer.ip(&format!("addr add {address} dev lo"));
        }
        for namespace in [&client, &balancer] {
            namespace.ip("link set e0 up");
        }
        balancer.ip("link set br0 up");
        client.ip("route add default via 10.1.0.1");
        client.ip("route add default via fd01::1");
        balancer.sysctl("net/ipv4/ip_forward", "1");
        balancer.sysctl("net/ipv6/conf/all/forwarding", "1");
        let servers = (0..servers)
            .map(|n| server_namespace(&balancer, n))
            .collect();
        let network = Network {
            client,
            balancer,
            servers,
        };
        network.warm_up();
        network
    }

    /// Waits until everybody finds everybody: a first datagram is not repeated.
    fn warm_up(&self) {
        let count = self.servers.len();
        let all = (0..count).flat_map(|n| [false, true].map(|v6| Network::address(n, v6)));
        let all: Vec<SocketAddr> = all.map(|ip| SocketAddr::new(ip, 1)).collect();
        let refused = |to: &SocketAddr| {
            TcpStream::connect_timeout(to, Duration::from_millis(300))
                .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        let work = move || {
            all.iter()
                .for_each(|to| until("servers are reachable", || refused(to)))
        };
        self.client.run(work).join().unwrap();
    }

    /// Address of server `n`.
    pub fn address(n: usize, v6: bool) -> IpAddr {
        match v6 {
            false => format!("10.2.0.{}", 11 + n).parse().unwrap(),
            true => format!("fd02::{}", 11 + n).parse().unwrap(),
        }
    }
}

/// Client – router – one link with balancer and servers, as in the interview of 2008 about Direct Server Return:
/// the router sends the virtual address to the balancer, servers have it on their loopback and answer through the router.
/// Client 10.1.0.2 and fd01::2, link 10.2.0.0/24 and fd02::/64, router .1, balancer .2, servers .11 ….
#[derive(Debug)]
pub struct Direct {
    pub client: Namespace,
    pub router: Namespace,
    pub balancer: Namespace,
    pub servers: Vec<Namespace>,
}

impl Direct {
    pub fn new(count: usize) -> Direct {
        let (client, router) = (Namespace::new("c"), Namespace::new("r"));
        let balancer = Namespace::new("b");
        ip(&format!(
            "link add e0 netns {} type veth peer name e0 netns {}",
            client.name, router.name
        ));
        client.ip("addr add 10.1.0.2/24 dev e0");
        client.ip("addr add fd01::2/64 dev e0 nodad");
        router.ip("addr add 10.1.0.1/24 dev e0");
        router.ip("addr add fd01::1/64 dev e0 nodad");
        router.ip("link add br0 type bridge");
        router.ip("addr add 10.2.0.1/24 dev br0");
        router.ip("addr add fd02::1/64 dev br0 nodad");
        for namespace in [&client, &router] {
            namespace.ip("link set e0 up");
        }
        router.ip("link set br0 up");
        client.ip("route add default via 10.1.0.1");
        client.ip("route add default via fd01::1");
        router.sysctl("net/ipv4/ip_forward", "1");
        router.sysctl("net/ipv6/conf/all/forwarding", "1");
        let attach = |namespace: &Namespace, name: &str, host: usize| {
            ip(&format!(
                "link add e1 netns {} type veth peer name {name} netns {}",
                namespace.name, router.name
            ));
            router.ip(&format!("link set {name} master br0 up"));
            namespace.ip(&format!("addr add 10.2.0.{host}/24 dev e1"));
            namespace.ip(&format!("addr add fd02::{host}/64 dev e1 nodad"));
            namespace.ip("link set e1 up");
            namespace.ip("route add default via 10.2.0.1");
            namespace.ip("route add default via fd02::1");
        };
        attach(&balancer, "pb", 2);
        router.ip("route add 192.0.2.100/32 via 10.2.0.2");
        router.ip("route add fdaa::100/128 via fd02::2");
        let servers: Vec<Namespace> = (0..count)
            .map(|n| {
                let server = Namespace::new(&format!("s{n}"));
                server.sysctl("net/ipv4/conf/all/arp_ignore", "1");
                server.sysctl("net/ipv4/conf/all/arp_announce", "2");
                attach(&server, &format!("p{n}"), 11 + n);
                server.ip("addr add 192.0.2.100/32 dev lo");
                server.ip("addr add fdaa::100/128 dev lo nodad");
                server
            })
            .collect();
        let network = Direct {
            client,
            router,
            balancer,
            servers,
        };
        network.warm_up();
        network
    }

    fn warm_up(&self) {
        let count = self.servers.len();
        let all = (0..count).flat_map(|n| [false, true].map(|v6| Network::address(n, v6)));
        let all: Vec<SocketAddr> = all.map(|ip| SocketAddr::new(ip, 1)).collect();
        for from in [&self.client, &self.balancer] {
            let all = all.clone();
            let refused = |to: &SocketAddr| {
                TcpStream::connect_timeout(to, Duration::from_millis(300))
                    .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
            };
            let work = move || {
                all.iter()
                    .for_each(|to| until("servers are reachable", || refused(to)))
            };
            from.run(work).join().unwrap();
        }
    }
}

/// Bytes an interface has received and sent.
pub fn bytes(namespace: &Namespace, interface: &'static str) -> (u64, u64) {
    let read = || std::fs::read_to_string("/proc/thread-self/net/dev");
    let text = namespace.run(read).join().unwrap().unwrap();
    let line = text
        .lines()
        .find_map(|l| l.trim().strip_prefix(&format!("{interface}:")));
    let fields: Vec<u64> = line
        .unwrap()
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    (fields[0], fields[8])
}

fn server_namespace(balancer: &Namespace, n: usize) -> Namespace {
    let server = Namespace::new(&format!("s{n}"));
    ip(&format!(
        "link add e0 netns {} type veth peer name p{n} netns {}",
        server.name, balancer.name
    ));
    balancer.ip(&format!("link set p{n} master br0 up"));
    server.ip(&format!(
        "addr add {}/24 dev e0",
        Network::address(n, false)
    ));
    server.ip(&format!(
        "addr add {}/64 dev e0 nodad",
        Network::address(n, true)
    ));
    server.ip("link set e0 up");
    server.ip("route add default via 10.2.0.1");
    server.ip("route add default via fd02::1");
    server
}

/// A TCP and UDP server that says its name to everybody and then echoes.
pub struct Server {
    stop: Arc<AtomicBool>,
    pub connections: Arc<AtomicU64>,
    pub datagrams: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts on all addresses of both families.
    pub fn start(namespace: &Namespace, port: u16, name: &str) -> Server {
        let stop = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicU64::new(0));
        let datagrams = Arc::new(AtomicU64::new(0));
        let ready = Arc::new(AtomicU32::new(0));
        let mut threads = Vec::new();
        {
            let (stop, count, name) = (stop.clone(), connections.clone(), name.to_owned());
            let ready = ready.clone();
            threads.push(namespace.run(move || {
                let listener = TcpListener::bind(("::", port)).unwrap();
                ready.fetch_add(1, Ordering::SeqCst);
                accept(&listener, &stop, &count, &name);
            }));
        }
        {
            let (stop, count, name) = (stop.clone(), datagrams.clone(), name.to_owned());
            let ready = ready.clone();
            threads.push(namespace.run(move || {
                let socket = UdpSocket::bind(("::", port)).unwrap();
                ready.fetch_add(1, Ordering::SeqCst);
                answer(&socket, &stop, &count, &name);
            }));
        }
        until("server is ready", || ready.load(Ordering::SeqCst) == 2);
        Server {
            stop,
            connections,
            datagrams,
            threads,
        }
    }

    /// Ends it with all its connections.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

const TICK: Duration = Duration::from_millis(20);

fn accept(listener: &TcpListener, stop: &Arc<AtomicBool>, count: &AtomicU64, name: &str) {
    // A time limit for accept(2), so that `stop` is seen.
    socket2::SockRef::from(listener)
        .set_read_timeout(Some(TICK))
        .unwrap();
    while !stop.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        count.fetch_add(1, Ordering::SeqCst);
        let (stop, name) = (stop.clone(), name.to_owned());
        thread::spawn(move || echo(stream, &stop, &name));
    }
}

fn echo(mut stream: TcpStream, stop: &AtomicBool, name: &str) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(TICK)).unwrap();
    if stream.write_all(format!("{name}\n").as_bytes()).is_err() {
        return;
    }
    let mut buffer = [0; 65536];
    while !stop.load(Ordering::SeqCst) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if stream.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return,
        }
    }
}

fn answer(socket: &UdpSocket, stop: &AtomicBool, count: &AtomicU64, name: &str) {
    socket.set_read_timeout(Some(TICK)).unwrap();
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::SeqCst) {
        if let Ok((_, from)) = socket.recv_from(&mut buffer) {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = socket.send_to(name.as_bytes(), from);
        }
    }
}

/// Polls with a bound.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Connects and reads the server's name. Call it inside the client's namespace.
pub fn open(to: SocketAddr) -> std::io::Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut name = String::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ if byte[0] == b'\n' => return Ok((stream, name)),
            _ => name.push(byte[0] as char),
        }
    }
}

/// Connects from one address.
pub fn open_from(from: IpAddr, to: SocketAddr) -> std::io::Result<(TcpStream, String)> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let name = read_line(&mut stream)?;
    Ok((stream, name))
}

fn read_line(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut name = String::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ if byte[0] == b'\n' => return Ok(name),
            _ => name.push(byte[0] as char),
        }
    }
}

/// Names of the servers that `count` new connections reach.
pub fn names(to: SocketAddr, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| open(to).map_or_else(|e| format!("error: {e}"), |(_, name)| name))
        .collect()
}

/// Whether a connection still carries bytes both ways.
pub fn alive(stream: &mut TcpStream) -> bool {
    let mut back = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"hello"
}

/// Sends a datagram from a socket and answers who replied.
pub fn ask(socket: &UdpSocket, to: SocketAddr) -> Option<String> {
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    socket.send_to(b"who", to).ok()?;
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// How often each name occurs.
pub fn tally(names: &[String]) -> std::collections::BTreeMap<&str, usize> {
    let mut tally = std::collections::BTreeMap::new();
    names
        .iter()
        .for_each(|n| *tally.entry(n.as_str()).or_default() += 1);
    tally
}
