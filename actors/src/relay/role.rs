//! The role's main loop: what the parent and the other roles say becomes actors and states.
//! Owns staging and switching of configurations, and one actor per listener.
//! Must never wait for room in a queue: answers that must arrive are sent by tasks of their own.

use super::access;
use super::context::Context;
use super::generation::Generation;
use super::queue::{self, Spot};
use super::relay_actor::{Close, Configure, RelayActor};
use super::relays::Relay;
use super::statistics::Reported;
use super::udp_actor::UdpActor;
use crate::board::Board;
use crate::error::RoleError;
use crate::link::{Admin, Incoming, Link, Message, PARENT, Peer, RunState, Slot, To};
use crate::options::Options;
use actix::{Actor, Recipient};
use backends::filter::Service;
use conf::limits;
use conf::model::Config;
use protocols::host::HostStatus;
use protocols::log::session as words;
use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Runs the role until the parent says stop or is gone.
///
/// # Errors
/// The role cannot go on; its process ends and is started again.
pub async fn run(mut link: Link, options: Arc<Options>) -> Result<(), RoleError> {
    let context = Context::new(link.me, link.sender.clone(), options).map_err(RoleError::Other)?;
    let mut role = RelayRole {
        context,
        descriptors: HashMap::new(),
        staged: None,
        listeners: HashMap::new(),
        reported: Reported::default(),
        retired: None,
    };
    let batches = actix::spawn(access::write_batches(Rc::clone(&role.context)));
    let queues = actix::spawn(queue::run(Rc::clone(&role.context)));
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            incoming = link.inbox.recv() => match incoming {
                Some(incoming) => if role.handle(incoming).is_break() { break },
                None => break,
            },
            _ = second.tick() => if role.tick().is_break() { break },
        }
    }
    queues.abort();
    role.close().await;
    // It holds the link, whose end the parent waits for.
    batches.abort();
    Ok(())
}

struct RelayRole {
    context: Rc<Context>,
    /// Descriptors that the next configuration refers to.
    descriptors: HashMap<Slot, OwnedFd>,
    staged: Option<Rc<Generation>>,
    listeners: HashMap<Slot, Listener>,
    reported: Reported,
    /// Takes no more connections; true once its sessions have a limit.
    retired: Option<bool>,
}

struct Listener {
    relay: Rc<Relay>,
    configure: Recipient<Configure>,
    close: Recipient<Close>,
}

impl Listener {
    fn configure(&self) {
        self.configure.do_send(Configure);
    }

    fn close(&self) {
        self.close.do_send(Close);
    }
}

impl RelayRole {
    fn handle(&mut self, incoming: Incoming) -> std::ops::ControlFlow<()> {
        let from = incoming.from;
        match incoming.message {
            Message::Descriptors { slots } => {
                for (slot, descriptor) in slots.into_iter().zip(incoming.descriptors) {
                    match slot {
                        Slot::Access(target) => self.context.access.install(&target, descriptor),
                        Slot::Board => self.take_board(&descriptor),
                        slot => {
                            self.descriptors.insert(slot, descriptor);
                        }
                    }
                }
            }
            Message::Stage {
                generation,
                config,
                state,
            } => self.stage(generation, config, &state),
            Message::Commit { generation } => self.commit(generation),
            Message::Abort { generation } => self.abort(generation),
            Message::HostStatus { hosts } => self.host_status(&hosts),
            Message::Admin { change } => self.admin(change),
            Message::Forwarding { services } => self.forwarding(services),
            Message::SessionList { request } => self.list(from, request),
            Message::KillSession { session } => {
                self.context.sessions.kill(session, words::ABORTED);
            }
            Message::NatResult {
                request,
                destination,
            } => self.context.lookups.answered(request, destination),
            Message::Freed {
                table,
                host,
                passed,
            } => {
                let queues = &self.context.queues;
                let spot = host.map_or(Spot::All, Spot::Host);
                match table {
                    Some(table) => queues.dispatch(&self.context, table, spot, passed),
                    None => queues.dispatch_all(&self.context),
                }
            }
            Message::Retire => self.wind_down(),
            Message::Shutdown => return std::ops::ControlFlow::Break(()),
            _ => {}
        }
        std::ops::ControlFlow::Continue(())
    }

    fn tick(&mut self) -> std::ops::ControlFlow<()> {
        let now = self.context.clock.tick();
        let ended = self.context.sessions.tick(now);
        self.context.counters.timeouts.add(ended);
        for line in self.context.refused.lines(now) {
            tracing::warn!("{line}");
        }
        self.reported.send(&self.context);
        if let Some(draining) = &mut self.retired {
            if self.context.sessions.is_empty() {
                return std::ops::ControlFlow::Break(());
            }
            if !*draining {
                *draining = true;
                let context = &self.context;
                context
                    .sessions
                    .each(|session| session.drain(context, limits::DRAIN_TIMEOUT));
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    /// The process is one too many: what it serves may go on for a while.
    fn wind_down(&mut self) {
        self.retired.get_or_insert(false);
        for (_, listener) in self.listeners.drain() {
            listener.close();
        }
    }

    fn take_board(&self, descriptor: &OwnedFd) {
        match Board::map(descriptor.as_fd()) {
            Ok(board) => self.context.seat.take(board),
            Err(error) => tracing::error!("shared counters: {error}"),
        }
    }

    fn stage(&mut self, number: u64, config: Arc<Config>, state: &RunState) {
        let before = self.context.generation();
        let staged = Generation::new(number, config, state, &before);
        let error = match staged {
            Ok(generation) => {
                self.staged = Some(Rc::new(generation));
                None
            }
            Err(error) => Some(error),
        };
        self.answer(
            PARENT,
            vec![Message::Staged {
                generation: number,
                error,
            }],
        );
    }

    fn abort(&mut self, number: u64) {
        self.staged.take_if(|s| s.number == number);
        self.descriptors.clear();
    }

    fn commit(&mut self, number: u64) {
        let Some(generation) = self.staged.take_if(|s| s.number == number) else {
            return;
        };
        let before = self.context.switch(Rc::clone(&generation));
        if before.number == 0 {
            self.context
                .forwards
                .publish(&self.context, generation.forwarding.clone());
        }
        let prefork = generation.config.globals.prefork;
        self.context.seat.set_processes(prefork);
        self.retire();
        for relay in &generation.config.relays {
            self.launch(Slot::Relay(relay.id));
        }
        let redirects: Vec<_> = self
            .descriptors
            .keys()
            .chain(self.listeners.keys())
            .filter(|slot| matches!(slot, Slot::Redirect(..)))
            .cloned()
            .collect();
        for slot in redirects {
            self.launch(slot);
        }
        // Descriptors of listeners that are served already were only offered.
        self.descriptors.clear();
        self.context.access.prune(&generation.config);
        self.context.queues.dispatch_all(&self.context);
        self.drain(&before);
    }

    /// Closes listeners that the new configuration has no use for.
    fn retire(&mut self) {
        let context = &self.context;
        self.listeners.retain(|slot, listener| {
            let new = match slot {
                Slot::Relay(_) => context.served(slot),
                _ => context.forwards.open(context, slot),
            };
            let kept = new.is_some_and(|new| new.same_listener(&listener.relay));
            if !kept {
                listener.close();
                context.forwards.close(slot);
            }
            kept
        });
    }

    /// Sessions whose relay is gone or changed may go on for a while.
    fn drain(&self, before: &Generation) {
        if before.number == 0 {
            return;
        }
        let now = self.context.generation();
        self.context.sessions.each(|session| {
            let id = session.relay.config.id;
            let unchanged = now
                .relays
                .get(&id)
                .is_some_and(|relay| Rc::ptr_eq(relay, &session.relay));
            if !unchanged {
                session.drain(&self.context, limits::DRAIN_TIMEOUT);
            }
        });
    }

    fn launch(&mut self, slot: Slot) {
        let relay = match slot {
            Slot::Relay(_) => self.context.served(&slot),
            _ => self.context.forwards.open(&self.context, &slot),
        };
        let Some(relay) = relay else {
            return;
        };
        if let Some(listener) = self.listeners.get_mut(&slot) {
            if !Rc::ptr_eq(&listener.relay, &relay) {
                announce(&relay);
                listener.relay = relay;
                listener.configure();
            }
            return;
        }
        announce(&relay);
        let name = relay.config.name.clone();
        let Some(descriptor) = self.descriptors.remove(&slot) else {
            tracing::error!("relay {name}: no listener was handed over");
            return;
        };
        match self.listen(&slot, &relay, descriptor) {
            Ok(listener) => {
                self.listeners.insert(slot, listener);
            }
            Err(error) => tracing::error!("relay {name}: listener: {error}"),
        }
    }

    fn listen(&self, slot: &Slot, relay: &Rc<Relay>, descriptor: OwnedFd) -> io::Result<Listener> {
        let (context, slot) = (Rc::clone(&self.context), slot.clone());
        let (configure, close) = if relay.protocol.kind.datagrams() {
            let socket = UdpSocket::from(descriptor);
            let actor = UdpActor::new(context, slot, Rc::clone(relay), socket)?.start();
            (actor.clone().recipient(), actor.recipient())
        } else {
            let listener = TcpListener::from(descriptor);
            let actor = RelayActor::new(context, slot, Rc::clone(relay), listener)?.start();
            (actor.clone().recipient(), actor.recipient())
        };
        Ok(Listener {
            relay: Rc::clone(relay),
            configure,
            close,
        })
    }

    fn forwarding(&self, services: Vec<Service>) {
        self.context.forwards.publish(&self.context, services);
        for (slot, listener) in &self.listeners {
            if matches!(slot, Slot::Redirect(..)) {
                listener.configure();
            }
        }
    }

    fn host_status(&self, hosts: &[HostStatus]) {
        self.context.generation().host_status(hosts);
        if let Some(staged) = &self.staged {
            staged.host_status(hosts);
        }
    }

    fn admin(&self, change: Admin) {
        self.context.generation().admin(change);
        if let Some(staged) = &self.staged {
            staged.admin(change);
        }
    }

    fn list(&self, to: Peer, request: u64) {
        let mut sessions = self.context.sessions.list(&self.context);
        let mut messages = Vec::new();
        loop {
            let rest = sessions.split_off(sessions.len().min(limits::SESSIONS_PER_MESSAGE));
            let last = rest.is_empty();
            messages.push(Message::Sessions {
                request,
                sessions,
                last,
            });
            if last {
                break;
            }
            sessions = rest;
        }
        self.answer(To::One(to), messages);
    }

    /// Sends what must arrive, in order, without keeping the main loop.
    fn answer(&self, to: To, messages: Vec<Message>) {
        let link = self.context.link.clone();
        actix::spawn(async move {
            for message in messages {
                // The main loop notices that the parent is gone.
                if link.tell(to, message).await.is_err() {
                    break;
                }
            }
        });
    }

    async fn close(&mut self) {
        for listener in self.listeners.values() {
            listener.close();
        }
        self.context.sessions.kill_all(words::ABORTED);
        // Their actors end one after the other, and each may have a last line to write.
        for _ in 0..limits::SESSIONS_MAX {
            if self.context.sessions.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.context.access.flush();
    }
}

fn announce(relay: &Relay) {
    if relay.redirect.is_some() {
        return;
    }
    for used in &relay.tables {
        let table = &used.table;
        let line = words::adding_hosts(table.hosts.len(), &table.name, table.checked);
        tracing::info!("{line}");
    }
}
