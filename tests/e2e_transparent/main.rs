//! Relays that use addresses which are not the balancer's: servers see clients, relays see where clients wanted to go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../support/mod.rs"]
mod support;

mod diverting;
mod surroundings;
mod transparent;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Daemon, Netns, Settings};

const CLIENTS: [&str; 2] = ["198.51.100.2", "2001:db8:c::2"];
const FRONT: [&str; 2] = ["198.51.100.1", "2001:db8:c::1"];
const BACK: [&str; 2] = ["192.0.2.1", "2001:db8:5::1"];
const SERVERS: [&str; 2] = ["192.0.2.2", "2001:db8:5::2"];
/// Of the rule and of the route.
const TABLE: &str = "7497068";

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Client, balancer, server in a row; the balancer routes nothing by itself.
struct Network {
    client: Netns,
    balancer: Netns,
    server: Netns,
}

impl Network {
    fn new() -> Network {
        let network = Network {
            client: Netns::new("client"),
            balancer: Netns::new("balancer"),
            server: Netns::new("server"),
        };
        let with = |address: &str| match address.contains(':') {
            true => format!("{address}/64"),
            false => format!("{address}/24"),
        };
        let join = |outer: &Netns, theirs: [&str; 2], name: &str, ours: [&str; 2]| {
            let (theirs, ours) = (theirs.map(with), ours.map(with));
            Netns::join(
                (outer, "eth0", &[&theirs[0], &theirs[1]]),
                (&network.balancer, name, &[&ours[0], &ours[1]]),
            );
        };
        join(&network.client, CLIENTS, "front", FRONT);
        join(&network.server, SERVERS, "back", BACK);
        for (netns, gateways) in [(&network.client, FRONT), (&network.server, BACK)] {
            netns.ip(&["route", "add", "default", "via", gateways[0]]);
            netns.ip(&["-6", "route", "add", "default", "via", gateways[1]]);
        }
        network.balancer.sysctl("net.ipv4.conf.all.rp_filter", "1");
        network
    }

    fn daemon(&self, config: &str) -> Daemon {
        let settings = Settings {
            backend: "nftables",
            netns: Some(&self.balancer),
            ..Settings::default()
        };
        Daemon::with(settings, config)
    }

    /// A conversation of the client.
    fn connect(&self, to: SocketAddr) -> std::io::Result<Talk> {
        self.client.run(move || Talk::with(to))
    }

    /// What a server says to one datagram.
    fn ask(&self, to: SocketAddr) -> Option<String> {
        self.client.run(move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            // Only an answer from where it was sent arrives.
            socket.connect(to).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(1)))
                .unwrap();
            socket.send(b"who am I?").ok()?;
            let mut answer = [0; 100];
            let length = socket.recv(&mut answer).ok()?;
            Some(String::from_utf8_lossy(&answer[..length]).into_owned())
        })
    }

    /// Our rules and routes, one line each, of both families.
    fn routing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for family in ["-4", "-6"] {
            let rules = self.balancer.text("ip", &[family, "rule"]);
            let ours = rules.lines().filter(|line| line.contains(TABLE));
            lines.extend(ours.map(|line| format!("{family} {line}")));
            let routes = self
                .balancer
                .exec("ip", &[family, "route", "show", "table", TABLE]);
            let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
            lines.extend(routes.lines().map(|line| format!("{family} {line}")));
        }
        lines
    }

    fn ruleset(&self) -> String {
        self.balancer.text("nft", &["list", "ruleset"])
    }
}

/// A connection to a witness.
#[derive(Debug)]
struct Talk {
    stream: BufReader<TcpStream>,
    /// Client's address as the server sees it.
    seen: String,
}

impl Talk {
    fn with(to: SocketAddr) -> std::io::Result<Talk> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut stream = BufReader::new(stream);
        let mut seen = String::new();
        match stream.read_line(&mut seen)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Talk {
                stream,
                seen: seen.trim().to_owned(),
            }),
        }
    }

    /// Sends bytes there and back.
    fn exchange(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        let mut back = vec![0; bytes.len()];
        self.stream.read_exact(&mut back)?;
        assert_eq!(back, bytes);
        Ok(())
    }
}

/// Servers that tell every client its address, over TCP and UDP on both families.
struct Witness {
    running: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Witness {
    fn new(netns: &Netns, port: u16) -> Witness {
        let running = Arc::new(AtomicBool::new(true));
        let mut threads = Vec::new();
        for address in SERVERS.map(|a| at(a, port)) {
            let (listener, socket) = netns.run(move || {
                let listener = TcpListener::bind(address).unwrap();
                (listener, UdpSocket::bind(address).unwrap())
            });
            listener.set_nonblocking(true).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let go = Arc::clone(&running);
            threads.push(std::thread::spawn(move || {
                let mut buffer = [0; 100];
                while go.load(Ordering::Relaxed) {
                    if let Ok((_, client)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(client.ip().to_string().as_bytes(), client);
                    }
                    while let Ok((stream, client)) = listener.accept() {
                        std::thread::spawn(move || testify(stream, client.ip()));
                    }
                }
            }));
        }
        Witness { running, threads }
    }
}

fn testify(mut stream: TcpStream, client: IpAddr) {
    stream.set_nonblocking(false).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let _ = writeln!(stream, "{client}");
    let _ = std::io::copy(&mut reader, &mut stream);
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const GLOBALS: &str = "interval 1
timeout 500
prefork 2
log connection
udp protocol \"any\"
table <four> { 192.0.2.2 }
table <six> { 2001:db8:5::2 }
";

fn wait_up(daemon: &Daemon) {
    let hosts = SERVERS.map(|server| ("host", server, "up"));
    daemon.wait_rows(&hosts);
}
