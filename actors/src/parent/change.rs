//! Changes of configuration: all processes agree, or nothing changes.
//!
//! In: requests (signal, control socket), [`Loaded`], `Staged` answers. Out: `Descriptors`, `Stage`, `Commit`, `Abort`,
//! `Verdict`. On loss of a process while it prepares: a reload is given up, the first configuration goes on.

use super::actor::{Parent, hangs};
use super::children::Phase;
use super::lifecycle::FAILURE;
use super::sockets::Sockets;
use super::verdict::describe;
use crate::link::{Message, Peer, Role};
use actix::prelude::*;
use backends::service::{self, State};
use conf::{Config, limits};
use protocols::log::daemon as words;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Somebody wants the configuration read again.
#[derive(Clone, Debug)]
pub struct Request {
    /// The process and its client that wait for the verdict.
    pub client: Option<(Peer, u64)>,
    /// File; `None` = the daemon's own.
    pub file: Option<PathBuf>,
}

/// A configuration on its way.
#[derive(Debug)]
pub struct Change {
    pub(super) generation: u64,
    pub(super) config: Arc<Config>,
    pub(super) sockets: Sockets,
    /// Who has not answered.
    pub(super) waiting: BTreeSet<Peer>,
    /// Why it is impossible.
    pub(super) errors: Vec<String>,
    request: Request,
    /// Numbers of objects added, changed, removed.
    difference: [usize; 3],
    /// The targets of access logs are to be opened again afterwards: it was asked for after these were opened.
    reopen: bool,
}

/// A file was read.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Loaded {
    result: Result<Config, Vec<String>>,
    request: Request,
}

impl Parent {
    /// The configuration that the daemon was started with.
    pub(super) fn first(&mut self, ctx: &mut Context<Self>) {
        for relay in &self.config.relays {
            tracing::debug!("{}", words::adding_relay(&relay.name));
            describe(&self.config, relay);
        }
        let change = Change {
            generation: 1,
            config: Arc::clone(&self.config),
            sockets: self.sockets.clone(),
            waiting: BTreeSet::new(),
            errors: Vec::new(),
            request: Request {
                client: None,
                file: None,
            },
            difference: [0; 3],
            reopen: false,
        };
        self.stage(change, ctx);
    }

    /// Reads the configuration again, now or as soon as nothing else is under way.
    pub(super) fn reload(&mut self, request: Request, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        if self.loading || !self.settled() {
            if self.queued.is_some() {
                let errors = vec!["another reload waits already".to_owned()];
                self.verdict(&request, errors);
                return;
            }
            self.queued = Some(request);
            return;
        }
        let file = request.file.clone().unwrap_or_else(|| self.file.clone());
        tracing::debug!("{}", words::reload_begins(file.display()));
        let monotonic = service::monotonic();
        service::notify(&State::Reloading { monotonic });
        self.loading = true;
        let loader = Arc::clone(&self.loader);
        // Resolving names may take long: the event loop goes on meanwhile.
        let reading = tokio::task::spawn_blocking(move || loader(&file));
        let me = ctx.address();
        actix::spawn(async move {
            let result = match reading.await {
                Ok(result) => result,
                Err(error) => Err(vec![error.to_string()]),
            };
            me.do_send(Loaded { result, request });
        });
    }

    /// Whether every process serves the configuration in force.
    fn settled(&self) -> bool {
        self.change.is_none()
            && self.generation > 0
            && self.needed(&self.config).iter().all(|p| {
                self.children
                    .get(p)
                    .is_some_and(|c| c.phase == Phase::Running)
            })
    }

    /// Begins the reload that waits, if it can begin now.
    pub(super) fn next_reload(&mut self, ctx: &mut Context<Self>) {
        if self.settled()
            && !self.loading
            && let Some(request) = self.queued.take()
        {
            self.reload(request, ctx);
        }
    }

    /// Sends a configuration to every process it needs, starting those that are missing.
    fn stage(&mut self, mut change: Change, ctx: &mut Context<Self>) {
        let needed = self.needed(&change.config);
        change.waiting = needed.iter().copied().collect();
        self.attempts = change.generation;
        let generation = change.generation;
        self.change = Some(change);
        for peer in needed {
            match self.children.get(&peer).map(|child| child.phase) {
                None => self.launch(peer, ctx),
                // Too few processes are worse than the end of the last sessions of this one.
                Some(Phase::Retiring | Phase::Ending) => self.dismiss(peer),
                Some(_) => self.prepare(peer, ctx),
            }
        }
        ctx.run_later(limits::STAGE_TIMEOUT, move |parent, ctx| {
            parent.stage_timeout(generation, ctx);
        });
    }

    /// Gives one child what it is to prepare: the configuration on its way, or the one in force.
    pub(super) fn prepare(&mut self, peer: Peer, ctx: &mut Context<Self>) {
        let on_its_way = self
            .change
            .as_ref()
            .filter(|change| change.waiting.contains(&peer))
            .map(|c| (c.generation, Arc::clone(&c.config), c.sockets.clone()));
        let (generation, config, sockets) = on_its_way.unwrap_or_else(|| {
            (
                self.generation,
                Arc::clone(&self.config),
                self.sockets.clone(),
            )
        });
        let state = Arc::new(self.memory.state(self.verbose));
        let Some(child) = self
            .children
            .get_mut(&peer)
            .filter(|child| !matches!(child.phase, Phase::Retiring | Phase::Ending))
        else {
            // It is started again when it has ended.
            return;
        };
        if child.phase != Phase::Running {
            child.phase = Phase::Starting(generation);
        }
        let stage = Message::Stage {
            generation,
            config,
            state,
        };
        let result = child.hand(sockets.of(peer)).and_then(|()| {
            child
                .tell(stage)
                .map_err(|_| std::io::Error::other("link queue full"))
        });
        if let Err(error) = result {
            self.staged(peer, generation, Some(error.to_string()), ctx);
        }
    }

    /// A child has prepared a configuration, or cannot.
    pub(super) fn staged(
        &mut self,
        peer: Peer,
        generation: u64,
        error: Option<String>,
        ctx: &mut Context<Self>,
    ) {
        if let Some(change) = self
            .change
            .as_mut()
            .filter(|change| change.generation == generation)
        {
            if change.waiting.remove(&peer) {
                let who = peer.role.title();
                change.errors.extend(error.map(|e| format!("{who}: {e}")));
                self.conclude(ctx);
            }
            return;
        }
        let Some(child) = self.children.get_mut(&peer) else {
            return;
        };
        if child.phase != Phase::Starting(generation) || generation != self.generation {
            return;
        }
        if let Some(error) = error {
            tracing::error!("{} cannot start again: {error}", peer.role.title());
            child.kill();
            return;
        }
        child.phase = Phase::Running;
        self.tell(peer, Message::Commit { generation });
        self.introduce(peer);
        self.next_reload(ctx);
    }

    /// Opens the files of access logs again if they were rotated, and sockets whose program was started again. During a
    /// change it waits for its end, which decides whose targets they are.
    pub(super) fn reopen_logs(&mut self) {
        if let Some(change) = &mut self.change {
            change.reopen = true;
            return;
        }
        if self.ending.is_some() || !self.sockets.reopen_logs(&self.config, &self.places) {
            return;
        }
        for (peer, child) in &mut self.children {
            // One that prepares was given the old ones already.
            if peer.role == Role::Relay
                && matches!(child.phase, Phase::Running | Phase::Starting(_))
                && child.hand(self.sockets.of(*peer)).is_err()
            {
                hangs(*peer, child);
            }
        }
    }

    /// Commits or aborts once nobody is waited for.
    pub(super) fn conclude(&mut self, ctx: &mut Context<Self>) {
        let Some(change) = self.change.take_if(|c| c.waiting.is_empty()) else {
            return;
        };
        let accepted = change.errors.is_empty();
        let reopen = change.reopen;
        if accepted {
            self.commit(change);
        } else {
            self.abort(change, ctx);
        }
        // What was opened for a change that came to nothing is gone with it.
        if reopen || !accepted {
            self.reopen_logs();
        }
        self.next_reload(ctx);
    }

    fn commit(&mut self, change: Change) {
        let generation = change.generation;
        let first = self.generation == 0;
        let old_path = self.places.control(&self.config).to_owned();
        self.generation = generation;
        self.config = change.config;
        self.sockets = change.sockets;
        self.memory.prune(&self.config);
        service::notify(&State::Ready { generation });
        let needed: BTreeSet<Peer> = self.needed(&self.config).into_iter().collect();
        let peers: Vec<Peer> = self.children.keys().copied().collect();
        for peer in peers {
            if needed.contains(&peer) {
                if let Some(child) = self.children.get_mut(&peer) {
                    child.phase = Phase::Running;
                    child.keep_only(self.sockets.of(peer));
                }
                self.tell(peer, Message::Commit { generation });
            } else {
                self.retire(peer);
            }
        }
        self.look_around();
        if self.places.control(&self.config) != old_path {
            remove_socket(&old_path);
        }
        if let Some(group) = self.config.globals.demote.clone() {
            // It was demoted while the daemon did not run.
            self.demote(&group, 0);
        }
        if !first {
            let [added, changed, removed] = change.difference;
            tracing::info!("{}", words::reloaded(generation, added, changed, removed));
            self.accepted = self.accepted.saturating_add(1);
            self.verdict(&change.request, Vec::new());
        }
    }

    fn abort(&mut self, change: Change, ctx: &mut Context<Self>) {
        let generation = change.generation;
        if self.generation == 0 {
            for error in &change.errors {
                tracing::error!("{error}");
            }
            self.stop(FAILURE, ctx);
            return;
        }
        let peers: Vec<Peer> = self.children.keys().copied().collect();
        for peer in peers {
            let Some(child) = self.children.get_mut(&peer) else {
                continue;
            };
            match child.phase {
                Phase::Running => {
                    child.keep_only(self.sockets.of(peer));
                    self.tell(peer, Message::Abort { generation });
                }
                Phase::Retiring => {}
                _ => self.dismiss(peer),
            }
        }
        let new = self.places.control(&change.config).to_owned();
        if new != self.places.control(&self.config) {
            remove_socket(&new);
        }
        self.refuse(&change.request, change.errors);
    }

    fn stage_timeout(&mut self, generation: u64, ctx: &mut Context<Self>) {
        let Some(change) = self
            .change
            .as_mut()
            .filter(|change| change.generation == generation)
        else {
            return;
        };
        let late = std::mem::take(&mut change.waiting);
        let seconds = limits::STAGE_TIMEOUT.as_secs();
        change.errors.extend(late.iter().map(|peer| {
            let title = peer.role.title();
            format!(
                "{title} {} did not answer within {seconds} s",
                peer.instance
            )
        }));
        self.conclude(ctx);
    }
}

/// Removes a control socket that is not used any more.
pub(super) fn remove_socket(path: &std::path::Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!("control socket {}: {error}", path.display());
    }
}

impl Handler<Loaded> for Parent {
    type Result = ();

    fn handle(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        self.loading = false;
        if self.ending.is_some() {
            return;
        }
        let Loaded { result, request } = loaded;
        let (config, difference) = match result {
            Ok(mut config) => {
                conf::keep_ids(&self.config, &mut config);
                let difference = conf::diff(&self.config, &config).totals();
                (config, difference)
            }
            Err(errors) => {
                self.refuse(&request, errors);
                self.next_reload(ctx);
                return;
            }
        };
        // A process died while the file was read: it must have its old configuration back first.
        if !self.settled() {
            self.queued.get_or_insert(request);
            return;
        }
        let staged = self
            .launcher
            .may_serve(&config)
            .map_err(|error| vec![error])
            .and_then(|()| self.sockets.stage(&config, &self.places));
        match staged {
            Ok(sockets) => {
                let change = Change {
                    generation: self.attempts.saturating_add(1),
                    config: Arc::new(config),
                    sockets,
                    waiting: BTreeSet::new(),
                    errors: Vec::new(),
                    request,
                    difference,
                    reopen: false,
                };
                self.stage(change, ctx);
            }
            Err(errors) => self.refuse(&request, errors),
        }
        self.next_reload(ctx);
    }
}
