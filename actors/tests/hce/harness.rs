//! A parent for the role, small servers, and configurations by hand.

use actors::hce;
use actors::link::{Incoming, Message, Outgoing, Peer, Remote, Role, RunState, Slot, To, pair};
use actors::options::Options;
use backends::sys::check_socket::EchoSocket;
use conf::Config;
use conf::model::{Address, Check, Globals, Host, HostId, HttpRequest, Table, TableId};
use protocols::check::icmp::Family;
use protocols::host::{HostState, HostStatus, Reason};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between checks in these tests.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// Time limit of checks in these tests.
pub const TIMEOUT: Duration = Duration::from_millis(150);

const PARENT: Peer = Peer {
    role: Role::Parent,
    instance: 0,
};

/// The role and what it said so far.
pub struct Harness {
    remote: Remote,
    role: JoinHandle<()>,
    pub hosts: BTreeMap<HostId, HostStatus>,
    /// Every state a host was reported in, without repetitions.
    pub history: Vec<(HostId, HostState)>,
    pub rounds: usize,
    pub scripts: Vec<(u64, String)>,
    pub staged: Vec<(u64, Option<String>)>,
    pub samples: Vec<actors::link::Sample>,
    generation: u64,
}

impl Harness {
    /// Starts the role with a configuration.
    pub async fn start(config: Config) -> Harness {
        Harness::start_with(config, RunState::default(), Options::default()).await
    }

    pub async fn start_with(config: Config, state: RunState, options: Options) -> Harness {
        let (link, remote) = pair(Peer {
            role: Role::Hce,
            instance: 0,
        });
        let role = tokio::task::spawn_local(async move {
            hce::run(link, Arc::new(options)).await.unwrap();
        });
        let mut harness = Harness {
            remote,
            role,
            hosts: BTreeMap::new(),
            history: Vec::new(),
            rounds: 0,
            scripts: Vec::new(),
            staged: Vec::new(),
            samples: Vec::new(),
            generation: 0,
        };
        harness.icmp().await;
        harness.load(config, state).await;
        harness
    }

    async fn icmp(&mut self) {
        for (slot, family) in [(Slot::Icmp4, Family::V4), (Slot::Icmp6, Family::V6)] {
            if let Ok(descriptor) = EchoSocket::open(family) {
                let incoming = Incoming {
                    from: PARENT,
                    message: Message::Descriptors { slots: vec![slot] },
                    descriptors: vec![descriptor],
                };
                self.remote.inbox.send(incoming).await.unwrap();
            }
        }
    }

    /// Stages a configuration and, if the role agrees, commits it.
    pub async fn load(&mut self, config: Config, state: RunState) {
        self.generation += 1;
        let generation = self.generation;
        self.tell(Message::Stage {
            generation,
            config: Arc::new(config),
            state: Arc::new(state),
        })
        .await;
        self.until("staged", |h| h.staged.iter().any(|s| s.0 == generation))
            .await;
        if self.staged.last().unwrap().1.is_none() {
            self.tell(Message::Commit { generation }).await;
        }
    }

    /// Sends the role a message.
    pub async fn tell(&mut self, message: Message) {
        let incoming = Incoming {
            from: PARENT,
            message,
            descriptors: Vec::new(),
        };
        self.remote.inbox.send(incoming).await.unwrap();
    }

    /// Reads messages until the condition holds.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Harness) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !condition(self) {
            let Ok(message) = tokio::time::timeout_at(end, self.remote.outbox.recv()).await else {
                panic!("no {what} in time; known: {:?}", self.hosts);
            };
            self.take(message.expect("role ended"));
        }
    }

    /// Reads what arrives within a time.
    pub async fn listen(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while let Ok(Some(message)) = tokio::time::timeout_at(end, self.remote.outbox.recv()).await
        {
            self.take(message);
        }
    }

    fn take(&mut self, outgoing: Outgoing) {
        match (outgoing.to, outgoing.message) {
            (to, Message::HostStatus { hosts }) if to.role() == Role::Pfe => {
                for status in hosts {
                    let last = self.history.iter().rev().find(|(id, _)| *id == status.id);
                    if last.is_none_or(|last| last.1 != status.state) {
                        self.history.push((status.id, status.state));
                    }
                    self.hosts.insert(status.id, status);
                }
            }
            (To::All(Role::Pfe), Message::RoundEnd) => self.rounds += 1,
            (_, Message::RunScript { request, host, .. }) => self.scripts.push((request, host)),
            (_, Message::Staged { generation, error }) => self.staged.push((generation, error)),
            (To::All(Role::Status), Message::Snapshot { samples }) => self.samples = samples,
            _ => {}
        }
    }

    /// Waits until a host has this state for this reason.
    pub async fn until_host(&mut self, id: u32, state: HostState, reason: Reason) {
        let what = format!("{state} ({}) of host {id}", reason.text());
        self.until(&what, |h| {
            h.hosts
                .get(&HostId(id))
                .is_some_and(|s| s.state == state && s.reason == reason)
        })
        .await;
    }

    pub fn status(&self, id: u32) -> HostStatus {
        self.hosts[&HostId(id)]
    }

    /// Ends the role.
    pub async fn stop(mut self) {
        self.tell(Message::Shutdown).await;
        timeout(PATIENCE, self.role).await.unwrap().unwrap();
    }
}

/// A configuration of tables, hosts numbered through.
pub fn config(tables: Vec<(Check, u16, Vec<&str>)>) -> Config {
    let mut id = 0;
    let tables = tables
        .into_iter()
        .enumerate()
        .map(|(index, (check, port, hosts))| {
            let hosts = hosts.into_iter().map(|name| {
                id += 1;
                host(id, name)
            });
            let hosts = hosts.collect();
            Table {
                id: TableId(index as u32 + 1),
                name: format!("t{index}:{port}"),
                template: format!("t{index}"),
                port,
                disabled: false,
                check,
                timeout: TIMEOUT,
                interval: INTERVAL,
                demote: None,
                slow_start: None,
                queue: None,
                hosts,
            }
        });
    Config {
        tables: tables.collect(),
        globals: Globals {
            interval: INTERVAL,
            timeout: TIMEOUT,
            ..Globals::default()
        },
        ..Config::default()
    }
}

pub fn host(id: u32, name: &str) -> Host {
    Host {
        id: HostId(id),
        name: name.to_owned(),
        address: Address::from(name.parse::<std::net::IpAddr>().unwrap()),
        retry: 0,
        parent: None,
        priority: 0,
        ip_ttl: 0,
        weight: 1,
        max_connections: None,
    }
}

pub const TCP: Check = Check::Tcp { tls: false };

pub fn http(code: u32) -> Check {
    Check::HttpCode {
        request: HttpRequest {
            path: "/".to_owned(),
            host: None,
            tls: false,
        },
        code,
    }
}

/// A server that treats every connection in one way until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(serve: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> Server {
        Server::on("127.0.0.1:0", serve)
    }

    pub fn on(address: &str, serve: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicUsize::new(0));
        let (count, end) = (Arc::clone(&accepted), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) > 0 {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut stream) = stream {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                    serve(&mut stream);
                }
            }
        });
        Server {
            address,
            accepted,
            stop,
        }
    }

    /// Reads a request and answers with fixed bytes.
    pub fn answering(answer: &'static [u8]) -> Server {
        Server::start(move |stream| {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(answer);
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(1, Ordering::Relaxed);
        // Wakes the accepting thread, which then closes the listener.
        let _ = std::net::TcpStream::connect(self.address);
    }
}
