//! What tests of the relay role share: configurations, servers, and the parent's end of a link.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code
)]

pub mod segments;

use actors::link::SessionInfo;
use actors::link::{self, Incoming, Message, Peer, Remote, Role, RunState, Slot, To};
use actors::options::Options;
use actors::relay;
use conf::Config;
use conf::model::*;
use protocols::host::{HostState, HostStatus};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest time a test waits for anything.
pub const BOUND: Duration = Duration::from_secs(20);

/// Waits with a bound.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(BOUND, future)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Builds configurations.
#[derive(Clone, Default)]
pub struct Builder {
    pub config: Config,
}

impl Builder {
    pub fn new() -> Self {
        let mut builder = Builder::default();
        let default = Protocol::new(ProtocolId(0), "default", ProtocolKind::Tcp);
        builder.config.protocols.push(default);
        builder
    }

    pub fn table(&mut self, name: &str, check: Check, hosts: &[SocketAddr]) -> TableId {
        let id = TableId(self.config.tables.len() as u32 + 1);
        let first: u32 = self
            .config
            .tables
            .iter()
            .map(|t| t.hosts.len() as u32)
            .sum();
        let port = hosts.first().map_or(1, SocketAddr::port);
        self.config.tables.push(Table {
            id,
            name: format!("{name}:{port}"),
            template: name.to_owned(),
            port,
            disabled: false,
            check,
            timeout: Duration::from_millis(200),
            interval: Duration::from_secs(10),
            demote: None,
            slow_start: None,
            queue: None,
            hosts: hosts
                .iter()
                .enumerate()
                .map(|(i, a)| Host {
                    id: HostId(first + i as u32 + 1),
                    name: a.ip().to_string(),
                    address: a.ip().into(),
                    retry: 0,
                    parent: None,
                    priority: 0,
                    ip_ttl: 0,
                    weight: 1,
                    max_connections: None,
                })
                .collect(),
        });
        id
    }

    pub fn protocol(&mut self, name: &str, kind: ProtocolKind) -> &mut Protocol {
        let id = ProtocolId(self.config.protocols.len() as u32);
        self.config.protocols.push(Protocol::new(id, name, kind));
        self.config.protocols.last_mut().unwrap()
    }

    pub fn redirect(
        &mut self,
        name: &str,
        listen: SocketAddr,
        ip_protocol: u8,
        table: TableId,
        mode: Mode,
    ) -> &mut Redirect {
        let id = RedirectId(self.config.redirects.len() as u32 + 1);
        let port = self.config.table(table).unwrap().port;
        self.config.redirects.push(Redirect {
            id,
            name: name.to_owned(),
            disabled: false,
            listeners: vec![VirtualAddress {
                address: listen.ip().into(),
                ip_protocol,
                port: listen.port(),
                port_end: listen.port(),
                interface: None,
                log: false,
            }],
            table,
            backup: None,
            keep_port: false,
            port,
            mode,
            key: None,
            forward: Forward::Translate,
            sticky: false,
            tag: None,
            session_timeout: Duration::from_secs(600),
            masquerade: false,
        });
        self.config.redirects.last_mut().unwrap()
    }

    pub fn relay(
        &mut self,
        name: &str,
        listen: SocketAddr,
        tables: &[(TableId, Mode)],
    ) -> &mut Relay {
        let id = RelayId(self.config.relays.len() as u32 + 1);
        self.config.relays.push(Relay {
            id,
            name: name.to_owned(),
            block: name.to_owned(),
            disabled: false,
            listen: Listen {
                address: listen.ip().into(),
                port: listen.port(),
                interface: None,
                tls: false,
                proxy: false,
            },
            protocol: ProtocolId(0),
            target: Target::Tables,
            tables: tables
                .iter()
                .map(|&(table, mode)| RelayTable {
                    table,
                    mode,
                    cookie: None,
                })
                .collect(),
            key: None,
            retry: 0,
            transparent: false,
            tls_client: false,
            translate: None,
            proxy_protocol: None,
            session_timeout: Duration::from_secs(600),
            access: None,
            session_max: conf::model::SessionMax::default(),
        });
        self.config.relays.last_mut().unwrap()
    }
}

/// A listening socket for a relay.
pub fn bind(address: &str) -> (SocketAddr, OwnedFd) {
    let listener = std::net::TcpListener::bind(address).unwrap();
    (listener.local_addr().unwrap(), listener.into())
}

/// A UDP socket for a relay.
pub fn bind_udp(address: &str) -> (SocketAddr, OwnedFd) {
    let socket = std::net::UdpSocket::bind(address).unwrap();
    (socket.local_addr().unwrap(), socket.into())
}

/// A running relay role and the parent's end of its link.
pub struct Running {
    remote: Remote,
    generation: u64,
    seen: VecDeque<(To, Message)>,
    role: tokio::task::JoinHandle<Result<(), actors::RoleError>>,
}

impl Running {
    /// Starts relay process `instance` and has it serve `config`.
    pub async fn start(
        instance: u32,
        config: &Config,
        descriptors: Vec<(Slot, OwnedFd)>,
        state: RunState,
    ) -> Self {
        let me = Peer {
            role: Role::Relay,
            instance,
        };
        let (link, remote) = link::pair(me);
        let role = actix::spawn(relay::run(link, Arc::new(Options::default())));
        let mut running = Running {
            remote,
            generation: 0,
            seen: VecDeque::new(),
            role,
        };
        running.load(config, descriptors, state).await;
        running
    }

    /// Stages and commits a configuration.
    pub async fn load(
        &mut self,
        config: &Config,
        descriptors: Vec<(Slot, OwnedFd)>,
        state: RunState,
    ) {
        self.generation += 1;
        let (slots, fds): (Vec<_>, Vec<_>) = descriptors.into_iter().unzip();
        self.send_with(PARENT_PEER, Message::Descriptors { slots }, fds)
            .await;
        let stage = Message::Stage {
            generation: self.generation,
            config: Arc::new(config.clone()),
            state: Arc::new(state),
        };
        self.send(PARENT_PEER, stage).await;
        let answer = self
            .receive(|_, m| matches!(m, Message::Staged { .. }))
            .await;
        assert!(
            matches!(&answer, Message::Staged { error: None, .. }),
            "{answer:?}"
        );
        let commit = Message::Commit {
            generation: self.generation,
        };
        self.send(PARENT_PEER, commit).await;
    }

    pub async fn send(&self, from: Peer, message: Message) {
        self.send_with(from, message, Vec::new()).await;
    }

    async fn send_with(&self, from: Peer, message: Message, descriptors: Vec<OwnedFd>) {
        let incoming = Incoming {
            from,
            message,
            descriptors,
        };
        within("room in the link", self.remote.inbox.send(incoming))
            .await
            .unwrap();
    }

    /// The next message that `wanted` accepts; others wait for later calls.
    pub async fn receive(&mut self, wanted: impl Fn(To, &Message) -> bool) -> Message {
        if let Some(i) = self.seen.iter().position(|(to, m)| wanted(*to, m)) {
            return self.seen.remove(i).unwrap().1;
        }
        within("a message", async {
            loop {
                let out = self.remote.outbox.recv().await.expect("role ended");
                if wanted(out.to, &out.message) {
                    return out.message;
                }
                self.seen.push_back((out.to, out.message));
            }
        })
        .await
    }

    pub async fn hosts(&self, hosts: Vec<HostStatus>) {
        let hce = Peer {
            role: Role::Hce,
            instance: 0,
        };
        self.send(hce, Message::HostStatus { hosts }).await;
    }

    /// The running sessions, as `show sessions` gets them.
    pub async fn sessions(&mut self) -> Vec<SessionInfo> {
        self.send(PFE, Message::SessionList { request: 7 }).await;
        let mut all = Vec::new();
        loop {
            let message = self
                .receive(|_, m| matches!(m, Message::Sessions { .. }))
                .await;
            if let Message::Sessions { sessions, last, .. } = message {
                all.extend(sessions);
                if last {
                    return all;
                }
            }
        }
    }

    /// Waits until the number of running sessions is `count`.
    pub async fn until_sessions(&mut self, count: usize) {
        for _ in 0..200 {
            if self.sessions().await.len() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("there are never {count} sessions");
    }

    /// Ends the role.
    pub async fn stop(self) {
        self.send(PARENT_PEER, Message::Shutdown).await;
        within("the role's end", self.role).await.unwrap().unwrap();
    }
}

pub const PARENT_PEER: Peer = Peer {
    role: Role::Parent,
    instance: 0,
};
pub const PFE: Peer = Peer {
    role: Role::Pfe,
    instance: 0,
};

/// A server that answers each connection with its name and closes; counts connections.
pub struct Named {
    pub address: SocketAddr,
    pub connections: Rc<std::cell::Cell<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Named {
    pub async fn start(address: &str, name: &'static str) -> Named {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&connections);
        let task = actix::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.set(count.get() + 1);
                actix::spawn(async move {
                    let _ = socket.write_all(name.as_bytes()).await;
                    let _ = socket.shutdown().await;
                    let mut rest = Vec::new();
                    let _ = socket.read_to_end(&mut rest).await;
                });
            }
        });
        Named {
            address,
            connections,
            task,
        }
    }

    /// Stops listening.
    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A server that sends back what it gets, until the client ends.
pub async fn echo(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    actix::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            actix::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

/// Everything a server says to one connection.
pub async fn ask(address: SocketAddr) -> String {
    within("an answer", async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer).await;
        answer
    })
    .await
}

/// Collects the log lines of this thread while it lives.
pub struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn start() -> Log {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            // The sentence alone: further fields are for JSON.
            .fmt_fields(tracing_subscriber::fmt::format::debug_fn(
                |out, field, value| match field.name() {
                    "message" => write!(out, "{value:?}"),
                    _ => Ok(()),
                },
            ))
            .with_writer(move || Writer(Arc::clone(&sink)))
            .finish();
        Log {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }

    /// Waits for a line that contains `text`.
    pub async fn until(&self, text: &str) -> String {
        for _ in 0..400 {
            let all = self.text();
            if let Some(line) = all.lines().find(|l| l.contains(text)) {
                return line.trim().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no line with {text:?} in:\n{}", self.text());
    }
}

pub fn up(id: u32) -> HostStatus {
    HostStatus {
        state: HostState::Up,
        ..HostStatus::unknown(HostId(id))
    }
}

pub fn down(id: u32) -> HostStatus {
    HostStatus {
        state: HostState::Down,
        ..HostStatus::unknown(HostId(id))
    }
}
