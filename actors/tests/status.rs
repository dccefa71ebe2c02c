//! The status role over an in-process link, asked by real clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use actors::link::{Incoming, Message, Peer, Remote, Role, RunState, Slot, pair};
use actors::options::Options;
use actors::status::{self, names};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(5);

fn peer(role: Role) -> Peer {
    Peer { role, instance: 0 }
}

struct Harness {
    remote: Remote,
    address: SocketAddr,
    role: JoinHandle<()>,
}

impl Harness {
    async fn start() -> Harness {
        let (link, remote) = pair(peer(Role::Status));
        let role = tokio::task::spawn_local(async move {
            status::run(link, Arc::new(Options::default()))
                .await
                .unwrap();
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let harness = Harness {
            remote,
            address,
            role,
        };
        let incoming = Incoming {
            from: peer(Role::Parent),
            message: Message::Descriptors {
                slots: vec![Slot::Metrics],
            },
            descriptors: vec![listener.into()],
        };
        harness.remote.inbox.send(incoming).await.unwrap();
        harness
    }

    async fn tell(&self, from: Role, message: Message) {
        let incoming = Incoming {
            from: peer(from),
            message,
            descriptors: Vec::new(),
        };
        self.remote.inbox.send(incoming).await.unwrap();
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        answer
    }

    /// Scrapes until the condition holds.
    async fn until(&self, condition: impl Fn(&str) -> bool) -> String {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
            if condition(&text) {
                return text;
            }
            assert!(tokio::time::Instant::now() < end, "not in time: {text}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn hosts(names: &[&str]) -> Message {
    let samples = names
        .iter()
        .map(|n| names::HOST_UP.sample(&[n, "t:80", "1"], 1.0));
    Message::Snapshot {
        samples: samples.collect(),
    }
}

#[actix::test]
async fn scrape_shows_what_processes_said_and_forgets_what_is_gone() {
    let status = Harness::start().await;
    let generation = 1;
    status
        .tell(
            Role::Parent,
            Message::Stage {
                generation,
                config: Arc::default(),
                state: Arc::new(RunState::default()),
            },
        )
        .await;
    status
        .tell(Role::Parent, Message::Commit { generation })
        .await;
    status
        .tell(Role::Hce, hosts(&["10.0.0.1", "10.0.0.2"]))
        .await;
    let text = status.until(|text| text.contains("10.0.0.2")).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
    assert!(text.contains("relayd_build_info{version="));
    assert!(text.contains("\nrelayd_configuration_generation 1\n"));
    assert!(text.contains("process_cpu_seconds_total{role="));
    status.tell(Role::Hce, hosts(&["10.0.0.1"])).await;
    status.until(|text| !text.contains("10.0.0.2")).await;
    let restarted = Message::Restarted {
        peer: peer(Role::Hce),
    };
    status.tell(Role::Parent, restarted).await;
    status.until(|text| !text.contains("10.0.0.1")).await;
    status.tell(Role::Parent, Message::Shutdown).await;
    timeout(PATIENCE, status.role).await.unwrap().unwrap();
    assert!(TcpStream::connect(status.address).await.is_err());
}

#[actix::test]
async fn wrong_and_silent_clients_do_not_keep_others_out() {
    let status = Harness::start().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(status.address).await.unwrap());
    }
    for (request, answer) in [
        ("GET /other HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405"),
        ("nonsense\r\n\r\n", "HTTP/1.1 400"),
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200"),
    ] {
        assert!(status.ask(request).await.starts_with(answer), "{request}");
    }
    let endless = "GET /metrics HTTP/1.1\r\nX: ".to_owned() + &"x".repeat(8192);
    assert!(status.ask(&endless).await.starts_with("HTTP/1.1 200"));
    let head = status.ask("HEAD /metrics HTTP/1.1\r\n\r\n").await;
    assert!(head.ends_with("\r\n\r\n"));
}
