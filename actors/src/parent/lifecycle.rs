//! Death, restart and the end of the daemon.
//! Owns what happens when a child is gone.
//! Must never leave a child behind, nor end without saying why.

use super::actor::{Ended, Parent};
use super::change::remove_socket;
use super::children::Phase;
use super::supervisor::Verdict;
use crate::board::Board;
use crate::link::{Message, Peer, Role};
use actix::prelude::*;
use backends::service::{self, State};
use backends::sys::random;
use conf::limits;
use conf::model::RouterId;
use protocols::log::daemon as words;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

/// Exit status of a daemon that could not go on.
pub const FAILURE: u8 = 1;

impl Parent {
    /// Starts a child and gives it what it is to prepare.
    pub(super) fn launch(&mut self, peer: Peer, ctx: &mut Context<Self>) {
        self.serial = self.serial.saturating_add(1);
        let (serial, verbose) = (self.serial, self.verbose);
        match self.launcher.launch(peer, serial, verbose, &ctx.address()) {
            Ok(child) => {
                self.children.insert(peer, child);
                if peer.role == Role::Relay {
                    let keys = self.tickets.clone();
                    self.tell(peer, Message::TicketKeys { keys });
                }
                self.prepare(peer, ctx);
            }
            Err(error) => {
                let how = format!("not started: {error}");
                self.died(peer, None, &how, ctx);
            }
        }
    }

    /// Tells a child that it is not needed any more.
    pub(super) fn dismiss(&mut self, peer: Peer) {
        if let Some(child) = self.children.get_mut(&peer)
            && child.phase != Phase::Ending
        {
            child.phase = Phase::Ending;
            self.tell(peer, Message::Shutdown);
        }
    }

    /// Ends a process that a smaller `prefork` has no use for, once its sessions have ended.
    pub(super) fn retire(&mut self, peer: Peer) {
        let relay = Peer {
            role: Role::Relay,
            ..peer
        };
        let relay_lives = self.children.contains_key(&relay);
        match self.children.get_mut(&peer).map(|c| &mut c.phase) {
            Some(phase @ Phase::Running) if peer.role == Role::Relay => {
                *phase = Phase::Retiring;
                // Our duplicates would keep its listeners open, and clients waiting in them, when it has closed its own.
                if let Some(child) = self.children.get_mut(&peer) {
                    child.keep_only(std::iter::empty());
                }
                self.tell(peer, Message::Retire);
            }
            Some(Phase::Retiring) => {}
            // Its relay process needs its keys to the end.
            _ if peer.role == Role::Ca && relay_lives => {}
            _ => self.dismiss(peer),
        }
    }

    /// Whether the configuration in force or the one on its way needs a process.
    fn wanted(&self, peer: Peer) -> bool {
        let coming = self.change.as_ref().map(|change| &*change.config);
        self.needed(&self.config).contains(&peer)
            || coming.is_some_and(|config| self.needed(config).contains(&peer))
    }

    /// Tells the others that a process is new and knows nothing of them.
    pub(super) fn introduce(&mut self, peer: Peer) {
        let others: Vec<Peer> = self
            .children
            .keys()
            .copied()
            .filter(|other| *other != peer)
            .collect();
        for other in others {
            self.tell(other, Message::Restarted { peer });
        }
    }

    pub(super) fn child_ended(&mut self, ended: Ended, ctx: &mut Context<Self>) {
        let Ended { peer, serial, how } = ended;
        if self.children.get(&peer).is_none_or(|c| c.serial != serial) {
            return;
        }
        let Some(child) = self.children.remove(&peer) else {
            return;
        };
        if peer.role == Role::Relay {
            self.clear_board(peer.instance);
        }
        if self.ending.is_some() {
            if self.children.is_empty() {
                self.finish();
            }
            return;
        }
        if matches!(child.phase, Phase::Ending | Phase::Retiring) {
            // A reload may have wanted this process back while it was ending.
            self.restart(peer, ctx);
            let ca = Peer {
                role: Role::Ca,
                ..peer
            };
            if peer.role == Role::Relay && !self.wanted(ca) {
                self.dismiss(ca);
            }
            return;
        }
        self.died(peer, child.pid, &how, ctx);
    }

    /// Connections of a relay process that ended are closed: hosts have room again.
    fn clear_board(&mut self, instance: u32) {
        let board = self.sockets.board().map(|fd| Board::map(fd.as_fd()));
        match board {
            Some(Ok(board)) => board.clear(instance),
            Some(Err(error)) => tracing::warn!("shared counters: {error}"),
            None => return,
        }
        let freed = Message::Freed {
            table: None,
            host: None,
            passed: 0,
        };
        self.tell_all(Role::Relay, &freed);
    }

    fn died(&mut self, peer: Peer, pid: Option<u32>, how: &str, ctx: &mut Context<Self>) {
        let title = peer.role.title();
        tracing::warn!("{}", words::lost_child(title, peer.instance, pid, how));
        match &mut self.change {
            // At the first start it gets another chance, even if it had agreed already.
            Some(change) if change.generation == 1 => {
                change.waiting.insert(peer);
            }
            Some(change) => {
                change.waiting.clear();
                change.errors.push(format!("{title}: died, {how}"));
            }
            None => {}
        }
        let verdict = self.supervisor.died(peer, Instant::now());
        self.conclude(ctx);
        match verdict {
            Verdict::Restart(delay) => {
                if !delay.is_zero() {
                    let milliseconds = delay.as_millis();
                    tracing::info!("{}", words::restarting(title, peer.instance, milliseconds));
                }
                ctx.run_later(delay, move |parent, ctx| parent.restart(peer, ctx));
            }
            Verdict::GiveUp => {
                let window = limits::RESTART_WINDOW.as_secs();
                let line = words::giving_up(title, limits::RESTARTS_MAX, window);
                tracing::error!("{line}");
                self.stop(FAILURE, ctx);
            }
        }
    }

    fn restart(&mut self, peer: Peer, ctx: &mut Context<Self>) {
        if self.wanted(peer) && self.ending.is_none() && !self.children.contains_key(&peer) {
            self.launch(peer, ctx);
        }
    }

    /// Ends the daemon with an exit status; a second call changes nothing.
    pub(super) fn stop(&mut self, status: u8, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(status);
        service::notify(&State::Stopping);
        self.change = None;
        self.queued = None;
        let peers: Vec<Peer> = self.children.keys().copied().collect();
        for peer in peers {
            self.dismiss(peer);
        }
        if self.children.is_empty() {
            self.finish();
            return;
        }
        ctx.run_later(limits::STOP_KILL, |parent, _| {
            for (peer, child) in &mut parent.children {
                tracing::warn!("{} {} does not end", peer.role.title(), peer.instance);
                child.kill();
            }
        });
    }

    fn finish(&mut self) {
        if let Err(error) = self.demotion.release() {
            tracing::warn!("demotion: {error}");
        }
        if let Some(group) = self.config.globals.demote.clone() {
            self.demote(&group, limits::DEMOTION_STOPPED);
        }
        remove_socket(self.places.control(&self.config));
        tracing::info!("{}", words::terminating(std::process::id()));
        if let Some(end) = self.end.take() {
            // Nobody but the caller of `run` waits for it.
            let _ = end.send(ExitCode::from(self.ending.unwrap_or_default()));
        }
    }

    /// New keys for session tickets; the older ones are accepted for a while.
    pub(super) fn rekey(&mut self) {
        let mut key = vec![0; limits::TICKET_KEY_LENGTH];
        if let Err(error) = random::fill(&mut key) {
            tracing::warn!("keys of session tickets: {error}");
            return;
        }
        tracing::debug!("{}", words::REKEYING);
        self.tickets.insert(0, key);
        self.tickets.truncate(limits::TICKET_KEYS);
        let keys = self.tickets.clone();
        self.tell_all(Role::Relay, &Message::TicketKeys { keys });
    }

    pub(super) fn demote(&mut self, group: &str, difference: i32) {
        self.memory.demoted(group, difference);
        match self.demotion.change(group, difference) {
            Ok(level) => tracing::info!("demotion of group {group} is {level}"),
            Err(error) => tracing::warn!("demotion of group {group}: {error}"),
        }
    }

    pub(super) fn route_changed(&mut self, router: RouterId, gateways: usize) {
        let Some(router) = self.config.router(router) else {
            return;
        };
        let name = &router.name;
        if self.routers.insert(router.id.0) {
            tracing::warn!("router {name}: this version does not change the routing table yet");
        }
        tracing::debug!("router {name}: {gateways} gateways up");
    }
}
