//! A pf update engine with everything around it played by the test.

use actors::link::{
    self, Incoming, Link, Message, Outgoing, Peer, Remote, Role, RunState, SessionInfo, Slot, To,
};
use actors::options::{Backend, Options};
use conf::Config;
use conf::model::HostId;
use protocols::host::{HostState, HostStatus, Reason};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub const RELAYCTL: &str = env!("CARGO_BIN_EXE_relayctl");
/// Nothing here takes long; this bound only ends a test that hangs.
pub const BOUND: Duration = Duration::from_secs(20);

/// What the played processes answer by themselves.
#[derive(Default)]
pub struct Script {
    /// Sessions of relay process 0, one list for each time it is asked; then none.
    pub sessions: Vec<Vec<SessionInfo>>,
    /// The last relay process does not answer.
    pub silent: bool,
    /// Messages of the next reload.
    pub errors: Vec<String>,
}

/// See the module.
pub struct Engine {
    pub socket: PathBuf,
    pub heard: Arc<Mutex<Vec<(To, Message)>>>,
    pub script: Arc<Mutex<Script>>,
    inbox: mpsc::Sender<Incoming>,
    role: Option<JoinHandle<()>>,
    generation: u64,
    config: Arc<Config>,
}

pub fn config(text: &str) -> Arc<Config> {
    let path = std::env::temp_dir().join(format!("relayd-{}.conf", unique()));
    std::fs::write(&path, text).unwrap();
    let loaded = conf::load(
        &path,
        &[],
        &backends::resolver::Files,
        &backends::resolver::System,
    );
    std::fs::remove_file(&path).unwrap();
    let lines: Vec<String> = loaded
        .diagnostics
        .list()
        .iter()
        .map(|d| d.line(&loaded.sources))
        .collect();
    Arc::new(loaded.config.unwrap_or_else(|| panic!("{lines:?}")))
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

pub const HCE: Peer = Peer {
    role: Role::Hce,
    instance: 0,
};
const PARENT: Peer = Peer {
    role: Role::Parent,
    instance: 0,
};

pub fn relay(instance: u32) -> Peer {
    Peer {
        role: Role::Relay,
        instance,
    }
}

pub fn status(id: u32, state: HostState) -> HostStatus {
    let mut status = HostStatus::unknown(HostId(id));
    status.state = state;
    status.checks = 2;
    status.ups = if state == HostState::Up { 2 } else { 0 };
    status.reason = if state == HostState::Up {
        Reason::TcpConnectOk
    } else {
        Reason::TcpConnectFailed
    };
    status.retries = u32::from(state == HostState::Down) * 2;
    status
}

impl Engine {
    pub fn start(text: &str, backend: Backend) -> Engine {
        Engine::with_state(text, backend, RunState::default())
    }

    pub fn with_state(text: &str, backend: Backend, state: RunState) -> Engine {
        let config = config(text);
        let socket = std::env::temp_dir().join(format!("relayd-{}.sock", unique()));
        let listener = UnixListener::bind(&socket).unwrap();
        let pfe = Peer {
            role: Role::Pfe,
            instance: 0,
        };
        let (link, remote) = link::pair(pfe);
        let options = Options {
            backend,
            ..Options::default()
        };
        let role = std::thread::spawn(move || run(link, options));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(Script::default()));
        let Remote { outbox, inbox } = remote;
        let player = Player {
            prefork: config.globals.prefork,
            inbox: inbox.clone(),
            heard: Arc::clone(&heard),
            script: Arc::clone(&script),
        };
        std::thread::spawn(move || player.play(outbox));
        let mut engine = Engine {
            socket,
            heard,
            script,
            inbox,
            role: Some(role),
            generation: 0,
            config: Arc::clone(&config),
        };
        engine
            .inbox
            .blocking_send(Incoming {
                from: PARENT,
                message: Message::Descriptors {
                    slots: vec![Slot::Control],
                },
                descriptors: vec![listener.into()],
            })
            .unwrap();
        engine.load(config, state);
        engine
    }

    pub fn send(&self, from: Peer, message: Message) {
        self.inbox
            .blocking_send(Incoming {
                from,
                message,
                descriptors: Vec::new(),
            })
            .unwrap();
    }

    /// Stages and commits a configuration.
    pub fn load(&mut self, config: Arc<Config>, state: RunState) {
        self.generation += 1;
        let generation = self.generation;
        self.config = Arc::clone(&config);
        self.send(
            PARENT,
            Message::Stage {
                generation,
                config,
                state: Arc::new(state),
            },
        );
        self.wait("Staged", |message| match message {
            Message::Staged {
                generation: g,
                error,
            } if *g == generation => {
                assert_eq!(*error, None);
                Some(())
            }
            _ => None,
        });
        self.send(PARENT, Message::Commit { generation });
    }

    pub fn statuses(&self, statuses: &[(u32, HostState)]) {
        let hosts = statuses.iter().map(|(id, s)| status(*id, *s)).collect();
        self.send(HCE, Message::HostStatus { hosts });
    }

    /// The first message, of those heard so far and to come, that `pick` takes.
    pub fn wait<T>(&self, what: &str, mut pick: impl FnMut(&Message) -> Option<T>) -> T {
        let end = Instant::now() + BOUND;
        loop {
            let found = {
                let heard = self.heard.lock().unwrap();
                heard.iter().find_map(|(_, message)| pick(message))
            };
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < end, "no {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Forgets what was heard.
    pub fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }

    pub fn relayctl(&self, words: &[&str]) -> (String, i32) {
        let output = self.output(words);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
        (
            String::from_utf8(output.stdout).unwrap(),
            output.status.code().unwrap(),
        )
    }

    pub fn output(&self, words: &[&str]) -> Output {
        Command::new(RELAYCTL)
            .arg("-s")
            .arg(&self.socket)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Repeats a command until its output is as wanted.
    pub fn until(&self, words: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + BOUND;
        loop {
            let (output, _) = self.relayctl(words);
            if wanted(&output) {
                return output;
            }
            assert!(Instant::now() < end, "{words:?} still prints\n{output}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let shutdown = Incoming {
            from: PARENT,
            message: Message::Shutdown,
            descriptors: Vec::new(),
        };
        let _ = self.inbox.blocking_send(shutdown);
        let role = self.role.take().unwrap().join();
        let _ = std::fs::remove_file(&self.socket);
        if !std::thread::panicking() {
            role.unwrap();
        }
    }
}

fn run(link: Link, options: Options) {
    let system = actix::System::new();
    system
        .block_on(actors::pfe::run(link, Arc::new(options)))
        .unwrap();
}

struct Player {
    prefork: u32,
    inbox: mpsc::Sender<Incoming>,
    heard: Arc<Mutex<Vec<(To, Message)>>>,
    script: Arc<Mutex<Script>>,
}

impl Player {
    fn play(&self, mut outbox: mpsc::Receiver<Outgoing>) {
        while let Some(Outgoing { to, message, .. }) = outbox.blocking_recv() {
            self.answer(&message);
            self.heard.lock().unwrap().push((to, message));
        }
    }

    fn send(&self, from: Peer, message: Message) {
        let _ = self.inbox.blocking_send(Incoming {
            from,
            message,
            descriptors: Vec::new(),
        });
    }

    fn answer(&self, message: &Message) {
        match message {
            Message::SessionList { request } => {
                let mut script = self.script.lock().unwrap();
                let first = if script.sessions.is_empty() {
                    Vec::new()
                } else {
                    script.sessions.remove(0)
                };
                for instance in 0..self.prefork - u32::from(script.silent) {
                    let sessions = if instance == 0 {
                        first.clone()
                    } else {
                        Vec::new()
                    };
                    self.send(
                        relay(instance),
                        Message::Sessions {
                            request: *request,
                            sessions,
                            last: true,
                        },
                    );
                }
            }
            Message::Reload { client, .. } => {
                let errors = std::mem::take(&mut self.script.lock().unwrap().errors);
                self.send(
                    PARENT,
                    Message::Verdict {
                        client: Some(*client),
                        generation: 1,
                        errors,
                    },
                );
            }
            _ => {}
        }
    }
}
