//! The Parent actor: every message between children passes here.
//!
//! In: [`FromChild`] (a child's message), [`Ended`] (its end), [`Signal`], [`Loaded`](super::change::Loaded).
//! Out: link messages to children. On loss: the process ends, its children see their links close and end too.

use super::change::{Change, Request};
use super::children::{Child, Launcher, PARENT_PEER, needed};
use super::memory::Memory;
use super::scripts::Scripts;
use super::seed::cookie_seed;
use super::sockets::{Places, Sockets};
use super::supervisor::Supervisor;
use super::{Loader, Start};
use crate::link::message::Kind;
use crate::link::role::permitted;
use crate::link::{Incoming, Message, Outgoing, Peer, Role, To};
use crate::logging;
use crate::status::{names, sample};
use actix::prelude::*;
use backends::service::{self, State};
use backends::sys::demotion::Demotion;
use backends::sys::random;
use conf::{Config, limits};
use futures_util::future::{LocalBoxFuture, ready};
use protocols::log::daemon as words;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// See the module.
pub struct Parent {
    pub(super) launcher: Launcher,
    pub(super) file: PathBuf,
    pub(super) loader: Loader,
    pub(super) places: Places,
    pub(super) verbose: u8,
    /// Configuration in force, or the first one.
    pub(super) config: Arc<Config>,
    /// Its number; 0 = none is in force yet.
    pub(super) generation: u64,
    /// Highest number ever given to a configuration.
    pub(super) attempts: u64,
    pub(super) sockets: Sockets,
    pub(super) children: BTreeMap<Peer, Child>,
    pub(super) memory: Memory,
    pub(super) supervisor: Supervisor,
    /// Configuration on its way to the children.
    pub(super) change: Option<Change>,
    /// A reload that waits for its turn.
    pub(super) queued: Option<Request>,
    /// A file is being read.
    pub(super) loading: bool,
    /// The daemon ends, with this status.
    pub(super) ending: Option<u8>,
    pub(super) end: Option<oneshot::Sender<ExitCode>>,
    pub(super) serial: u64,
    /// Reloads that were accepted.
    pub(super) accepted: u64,
    /// Reloads that came to nothing.
    pub(super) refused: u64,
    pub(super) demotion: Demotion,
    pub(super) scripts: Scripts,
    pub(super) tickets: Vec<Vec<u8>>,
    /// Troubles of this system that the operator was told.
    pub(super) warned: HashSet<String>,
    /// Routers whose missing implementation was mentioned.
    pub(super) routers: HashSet<u32>,
}

/// A message of a child. Answered when it is delivered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FromChild {
    pub(super) peer: Peer,
    pub(super) serial: u64,
    pub(super) outgoing: Outgoing,
}

/// A child ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ended {
    pub(super) peer: Peer,
    pub(super) serial: u64,
    pub(super) how: String,
}

/// A child does not read its link.
#[derive(Message)]
#[rtype(result = "()")]
struct Hangs {
    peer: Peer,
    serial: u64,
}

/// A signal from outside.
#[derive(Clone, Copy, Debug, Message, PartialEq, Eq)]
#[rtype(result = "()")]
enum Signal {
    Reload,
    ReopenLogs,
    Stop,
}

impl Parent {
    /// Starts the actor; the answer resolves when the daemon has ended.
    pub(super) fn begin(start: Start) -> std::io::Result<oneshot::Receiver<ExitCode>> {
        let streams = [
            (Signal::Reload, signal(SignalKind::hangup())?),
            (Signal::ReopenLogs, signal(SignalKind::user_defined1())?),
            (Signal::Stop, signal(SignalKind::terminate())?),
            (Signal::Stop, signal(SignalKind::interrupt())?),
        ];
        let (end, ended) = oneshot::channel();
        let mut memory = Memory::default();
        random::fill(&mut memory.seed)?;
        memory.cookie_seed = cookie_seed(
            &start.launcher.options.state_directory,
            &start.config,
            memory.seed,
        );
        let places = Places::new(&start.launcher.options);
        let demotion = Demotion::new(&start.launcher.options.state_directory);
        let parent = Parent {
            scripts: Scripts::new(start.launcher.confinement.clone()),
            launcher: start.launcher,
            file: start.file,
            loader: start.loader,
            places,
            verbose: start.verbose,
            config: Arc::new(start.config),
            generation: 0,
            attempts: 0,
            sockets: start.sockets,
            children: BTreeMap::new(),
            memory,
            supervisor: Supervisor::default(),
            change: None,
            queued: None,
            loading: false,
            ending: None,
            end: Some(end),
            serial: 0,
            accepted: 0,
            refused: 0,
            demotion,
            tickets: Vec::new(),
            warned: HashSet::new(),
            routers: HashSet::new(),
        };
        let address = parent.start();
        for (signal, stream) in streams {
            actix::spawn(forward(signal, stream, address.clone()));
        }
        Ok(ended)
    }

    /// The processes that run now and are to go on.
    pub(super) fn needed(&self, config: &Config) -> Vec<Peer> {
        needed(config.globals.prefork, self.places.metrics.is_some())
    }

    /// Tells one child; one that does not read is killed.
    pub(super) fn tell(&mut self, peer: Peer, message: Message) {
        if let Some(child) = self.children.get_mut(&peer)
            && child.tell(message).is_err()
        {
            hangs(peer, child);
        }
    }

    /// Tells all children of a role.
    pub(super) fn tell_all(&mut self, role: Role, message: &Message) {
        let peers: Vec<Peer> = self.children.keys().copied().collect();
        for peer in peers.into_iter().filter(|p| p.role == role) {
            self.tell(peer, message.clone());
        }
    }

    /// Passes a message on. A full queue makes its sender wait, and its receiver die if that takes too long.
    fn route(
        &mut self,
        from: Peer,
        outgoing: Outgoing,
        me: Addr<Parent>,
    ) -> LocalBoxFuture<'static, ()> {
        let Outgoing {
            to,
            message,
            mut descriptors,
        } = outgoing;
        self.memory.observe(from.role, &message);
        let expendable = matches!(message.kind(), Kind::Snapshot | Kind::Event);
        let mut waiting: Vec<(Peer, u64, mpsc::Sender<Incoming>, Incoming)> = Vec::new();
        for (peer, child) in &self.children {
            let meant = match to {
                To::All(role) => peer.role == role,
                To::One(one) => *peer == one,
            };
            if !meant {
                continue;
            }
            let incoming = Incoming {
                from,
                message: message.clone(),
                descriptors: std::mem::take(&mut descriptors),
            };
            match child.inbox.try_send(incoming) {
                Err(mpsc::error::TrySendError::Full(incoming)) if !expendable => {
                    waiting.push((*peer, child.serial, child.inbox.clone(), incoming));
                }
                // Lost on purpose, or its receiver is dead and will get the state when it is started again.
                _ => {}
            }
        }
        if waiting.is_empty() {
            return Box::pin(ready(()));
        }
        Box::pin(async move {
            for (peer, serial, inbox, incoming) in waiting {
                let sent = inbox.send_timeout(incoming, limits::STUCK_TIMEOUT).await;
                if let Err(mpsc::error::SendTimeoutError::Timeout(_)) = sent {
                    me.do_send(Hangs { peer, serial });
                }
            }
        })
    }

    /// A message for the parent itself.
    fn receive(&mut self, from: Peer, message: Message, ctx: &mut Context<Self>) {
        match message {
            Message::Ready { pid, .. } => {
                if let Some(child) = self.children.get_mut(&from) {
                    child.pid = Some(pid);
                }
            }
            Message::Staged { generation, error } => self.staged(from, generation, error, ctx),
            Message::Log { severity, line } => logging::print(severity, &line),
            Message::RunScript {
                request,
                path,
                host,
                timeout,
            } => {
                let serial = self.children.get(&from).map_or(0, |c| c.serial);
                self.run_script(from, serial, request, path, host, timeout, ctx);
            }
            Message::Demote { group, level } => self.demote(&group, level),
            Message::Route {
                router, gateways, ..
            } => self.route_changed(router, gateways.len()),
            Message::Reload { client, file } => {
                let request = Request {
                    client: Some((from, client)),
                    file,
                };
                self.reload(request, ctx);
            }
            Message::Stop => self.stop(0, ctx),
            Message::ReopenLogs => self.reopen_logs(),
            Message::SetVerbose { level } => self.set_verbose(level),
            _ => {}
        }
    }

    /// Tells the metrics listener what only the parent knows.
    fn snapshot(&mut self) {
        let mut samples = vec![
            names::RELOADS.sample(&["accepted"], self.accepted as f64),
            names::RELOADS.sample(&["refused"], self.refused as f64),
        ];
        for role in [Role::Pfe, Role::Hce, Role::Relay, Role::Ca, Role::Status] {
            let deaths = self.supervisor.deaths(role);
            samples.push(names::RESTARTS.sample(&[role.name()], deaths as f64));
        }
        if self.launcher.in_process.is_none() {
            samples.extend(sample::samples());
        }
        let status = Peer {
            role: Role::Status,
            instance: 0,
        };
        if let Some(child) = self.children.get(&status) {
            // A listener that is slow misses some.
            let _ = child.tell(Message::Snapshot { samples });
        }
    }

    fn set_verbose(&mut self, level: u8) {
        self.verbose = level;
        logging::set_verbose(level);
        let peers: Vec<Peer> = self.children.keys().copied().collect();
        for peer in peers {
            self.tell(peer, Message::Verbose { level });
        }
    }
}

/// Kills a child that does not read its link; its end leads to a restart.
pub(super) fn hangs(peer: Peer, child: &mut Child) {
    tracing::warn!(
        "{} {} does not read its link and is killed",
        peer.role.title(),
        peer.instance
    );
    child.kill();
}

async fn forward(signal: Signal, mut stream: Stream, parent: Addr<Parent>) {
    while stream.recv().await.is_some() {
        parent.do_send(signal);
    }
}

impl Actor for Parent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(limits::LINK_QUEUE);
        tracing::info!("{}", words::STARTUP);
        self.rekey();
        ctx.run_interval(limits::TICKET_REKEY_INTERVAL, |parent, _| parent.rekey());
        if let Some(limit) = service::watchdog() {
            ctx.run_interval(limit / 2, |_, _| service::notify(&State::Alive));
        }
        if self.places.metrics.is_some() {
            ctx.run_interval(limits::SNAPSHOT_INTERVAL, |parent, _| parent.snapshot());
        }
        self.first(ctx);
    }
}

impl Handler<FromChild> for Parent {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, from: FromChild, ctx: &mut Context<Self>) -> ResponseFuture<()> {
        let FromChild {
            peer,
            serial,
            outgoing,
        } = from;
        if self.children.get(&peer).is_none_or(|c| c.serial != serial) {
            return Box::pin(ready(()));
        }
        let (to, kind) = (outgoing.to.role(), outgoing.message.kind());
        if !permitted(peer.role, to, kind) {
            tracing::warn!(
                "{} must not send {kind:?} to {}: refused",
                peer.role.title(),
                to.title()
            );
            return Box::pin(ready(()));
        }
        if to == PARENT_PEER.role {
            self.receive(peer, outgoing.message, ctx);
            return Box::pin(ready(()));
        }
        self.route(peer, outgoing, ctx.address())
    }
}

impl Handler<Ended> for Parent {
    type Result = ();

    fn handle(&mut self, ended: Ended, ctx: &mut Context<Self>) {
        self.child_ended(ended, ctx);
    }
}

impl Handler<Hangs> for Parent {
    type Result = ();

    fn handle(&mut self, Hangs { peer, serial }: Hangs, _: &mut Context<Self>) {
        if let Some(child) = self.children.get_mut(&peer).filter(|c| c.serial == serial) {
            hangs(peer, child);
        }
    }
}

impl Handler<Signal> for Parent {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Context<Self>) {
        match signal {
            Signal::Stop => self.stop(0, ctx),
            Signal::ReopenLogs => self.reopen_logs(),
            Signal::Reload => {
                tracing::debug!("{}", words::RELOAD_REQUESTED);
                let request = Request {
                    client: None,
                    file: None,
                };
                self.reload(request, ctx);
            }
        }
    }
}
