//! The child processes: how one is started, spoken to and ended.
//! Owns the parent's end of every link, and the way a child runs: as a process, or inside this one.
//! Must never restart anything: that is decided by [`super::Parent`].

use super::actor::{Ended, FromChild, Parent};
use super::sockets::Handed;
use crate::link::transport::parent_end;
use crate::link::{Incoming, Link, Message, Peer, Remote, Role, pair};
use crate::options::Options;
use actix::Addr;
use backends::sys::pass;
use backends::sys::privileges::{Confinement, Keep};
use conf::Config;
use futures_util::future::LocalBoxFuture;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};

/// How long a process may live after it closed its link.
const LINGER: Duration = Duration::from_secs(5);

/// The parent, as a sender.
pub const PARENT_PEER: Peer = Peer {
    role: Role::Parent,
    instance: 0,
};

/// How children are started.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// Options, the packet filter already chosen.
    pub options: Arc<Options>,
    /// User and root directory of children; `None` = as the parent.
    pub confinement: Option<Confinement>,
    /// Relay processes may use the addresses of clients (`transparent`).
    pub transparent: bool,
    /// `-d`
    pub foreground: bool,
    /// `--single-process`: what runs a role inside this process; `None` = every child is a process.
    pub in_process: Option<RunRole>,
}

/// Runs the role at the end of a link.
pub type RunRole = fn(Link, Arc<Options>) -> LocalBoxFuture<'static, Result<(), crate::RoleError>>;

/// What a child is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Prepares this generation before it serves for the first time.
    Starting(u64),
    /// Serves.
    Running,
    /// Serves its last sessions and then ends.
    Retiring,
    /// Was told to end.
    Ending,
}

/// A child and the parent's end of its link.
#[derive(Debug)]
pub struct Child {
    /// Number of the start: a message of an earlier life of the same peer is told from one of this life.
    pub serial: u64,
    /// What it is doing.
    pub phase: Phase,
    /// Process id; `None` while it has not reported, or inside this process.
    pub pid: Option<u32>,
    /// Towards the child.
    pub inbox: mpsc::Sender<Incoming>,
    kill: Option<oneshot::Sender<()>>,
    /// The sockets it was given.
    given: HashMap<crate::link::Slot, Rc<OwnedFd>>,
}

/// A child could not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck;

impl Child {
    /// Queues a message of the parent.
    ///
    /// # Errors
    /// The queue is full. A closed one is no error: the end of the child is reported in any case.
    pub fn tell(&self, message: Message) -> Result<(), Stuck> {
        self.pass(message, Vec::new())
    }

    fn pass(&self, message: Message, descriptors: Vec<OwnedFd>) -> Result<(), Stuck> {
        let incoming = Incoming {
            from: PARENT_PEER,
            message,
            descriptors,
        };
        match self.inbox.try_send(incoming) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Stuck),
            _ => Ok(()),
        }
    }

    /// Hands over the sockets that the child does not have yet.
    ///
    /// # Errors
    /// Out of descriptors, or the queue is full.
    pub fn hand<'a>(&mut self, sockets: impl Iterator<Item = &'a Handed>) -> io::Result<()> {
        let mut slots = Vec::new();
        let mut descriptors = Vec::new();
        let mut given = HashMap::new();
        for handed in sockets {
            given.insert(handed.slot.clone(), Rc::clone(&handed.socket));
            let known = self.given.get(&handed.slot);
            if known.is_some_and(|s| Rc::ptr_eq(s, &handed.socket)) {
                continue;
            }
            slots.push(handed.slot.clone());
            descriptors.push(handed.socket.as_fd().try_clone_to_owned()?);
        }
        self.given = given;
        while !slots.is_empty() {
            let rest = slots.split_off(slots.len().min(pass::DESCRIPTORS_MAX));
            let later = descriptors.split_off(descriptors.len().min(pass::DESCRIPTORS_MAX));
            self.pass(Message::Descriptors { slots }, descriptors)
                .map_err(|Stuck| io::Error::other("link queue full"))?;
            (slots, descriptors) = (rest, later);
        }
        Ok(())
    }

    /// The child has no use any more for what it was given beyond these sockets.
    pub fn keep_only<'a>(&mut self, in_force: impl Iterator<Item = &'a Handed>) {
        let kept: HashMap<_, _> = in_force
            .map(|h| (h.slot.clone(), Rc::clone(&h.socket)))
            .collect();
        self.given
            .retain(|slot, socket| kept.get(slot).is_some_and(|s| Rc::ptr_eq(s, socket)));
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            // It has just ended by itself otherwise.
            let _ = kill.send(());
        }
    }
}

impl Launcher {
    /// Starts a child; its messages and its end are reported to `parent`.
    ///
    /// # Errors
    /// The system gives no process, socket pair or descriptor.
    pub fn launch(
        &self,
        peer: Peer,
        serial: u64,
        verbose: u8,
        parent: &Addr<Parent>,
    ) -> io::Result<Child> {
        let (kill, killed) = oneshot::channel();
        let report = Report {
            peer,
            serial,
            parent: parent.clone(),
        };
        let (inbox, pid) = if let Some(run) = self.in_process {
            let (link, remote) = pair(peer);
            let role = tokio::task::spawn_local(run(link, Arc::clone(&self.options)));
            actix::spawn(in_process(report, remote.outbox, role, killed));
            (remote.inbox, None)
        } else {
            let (ours, theirs) = UnixStream::pair()?;
            let process = self.command(peer, theirs.into())?.spawn()?;
            let pid = process.id();
            let Remote { inbox, outbox } = parent_end(ours, peer)?;
            actix::spawn(in_child(report, outbox, process, killed));
            (inbox, pid)
        };
        let child = Child {
            serial,
            phase: Phase::Starting(0),
            pid,
            inbox,
            kill: Some(kill),
            given: HashMap::new(),
        };
        if self.in_process.is_none() {
            let boot = Message::Boot {
                me: peer,
                options: Arc::clone(&self.options),
                confinement: self.confinement.clone(),
                keep: self.keep(peer.role),
                foreground: self.foreground,
                verbose,
            };
            // The queue of a new link is empty.
            let _ = child.tell(boot);
        }
        Ok(child)
    }

    fn keep(&self, role: Role) -> Keep {
        match role {
            Role::Pfe => Keep::NetAdmin,
            Role::Relay if self.transparent => Keep::Transparent,
            _ => Keep::Nothing,
        }
    }

    /// Whether the processes that run have the right to serve `config`.
    ///
    /// # Errors
    /// What they lack: it was given up at the start.
    pub fn may_serve(&self, config: &Config) -> Result<(), String> {
        if self.confinement.is_none() || self.in_process.is_some() || self.transparent {
            return Ok(());
        }
        match config.relays.iter().find(|relay| relay.transparent) {
            Some(relay) => Err(format!(
                "relay {}: transparent: the relay processes gave up the right to it when they started; restart relayd",
                relay.name
            )),
            None => Ok(()),
        }
    }

    /// The same executable again, even if the file was replaced meanwhile. Its link is its standard input; nothing
    /// else is inherited but the log.
    fn command(&self, peer: Peer, link: OwnedFd) -> io::Result<Command> {
        let mut command = Command::new(executable()?);
        command
            .arg0(format!("{}{}", super::TITLE_PREFIX, peer.role.title()))
            .env_clear()
            .stdin(Stdio::from(link))
            .stdout(Stdio::null())
            .stderr(if self.foreground {
                Stdio::inherit()
            } else {
                Stdio::null()
            });
        for name in ["TZ", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Ok(command)
    }
}

fn executable() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

struct Report {
    peer: Peer,
    serial: u64,
    parent: Addr<Parent>,
}

impl Report {
    /// Passes on what the child says; one message at a time, so that a child which talks too much waits.
    async fn messages(&self, outbox: &mut mpsc::Receiver<crate::link::Outgoing>) {
        while let Some(outgoing) = outbox.recv().await {
            let message = FromChild {
                peer: self.peer,
                serial: self.serial,
                outgoing,
            };
            if self.parent.send(message).await.is_err() {
                return;
            }
        }
    }

    fn ended(&self, how: String) {
        self.parent.do_send(Ended {
            peer: self.peer,
            serial: self.serial,
            how,
        });
    }
}

async fn in_child(
    report: Report,
    mut outbox: mpsc::Receiver<crate::link::Outgoing>,
    mut process: tokio::process::Child,
    mut killed: oneshot::Receiver<()>,
) {
    let ordered = tokio::select! {
        () = report.messages(&mut outbox) => false,
        _ = &mut killed => true,
    };
    // A process that only closed its link does not serve any more: it gets a moment, then it is killed.
    let limit = if ordered { Duration::ZERO } else { LINGER };
    let status = if let Ok(status) = tokio::time::timeout(limit, process.wait()).await {
        status
    } else {
        // It may have ended just now; wait() tells.
        let _ = process.start_kill();
        process.wait().await
    };
    report.ended(match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    });
}

async fn in_process(
    report: Report,
    mut outbox: mpsc::Receiver<crate::link::Outgoing>,
    mut role: tokio::task::JoinHandle<Result<(), crate::RoleError>>,
    killed: oneshot::Receiver<()>,
) {
    let told = tokio::select! {
        () = report.messages(&mut outbox) => true,
        _ = killed => false,
    };
    let limit = if told { LINGER } else { Duration::ZERO };
    let how = match tokio::time::timeout(limit, &mut role).await {
        Ok(Ok(Ok(()))) => "ended".to_owned(),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "killed".to_owned(),
    };
    role.abort();
    report.ended(how);
}

/// The processes that a configuration needs, in the order of their start.
pub fn needed(prefork: u32, metrics: bool) -> Vec<Peer> {
    let one = |role| Peer { role, instance: 0 };
    let mut peers = vec![one(Role::Pfe), one(Role::Hce)];
    for role in [Role::Relay, Role::Ca] {
        peers.extend((0..prefork).map(|instance| Peer { role, instance }));
    }
    if metrics {
        peers.push(one(Role::Status));
    }
    peers
}
