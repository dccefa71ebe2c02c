//! Pfe: what hosts do becomes what the packet filter does.
//! Owns the state and the rounds of changes: every affected redirection decides, then the backend applies once.
//! Must never wait for the parent's queue: what must arrive is sent by tasks of their own.
//!
//! In: the parent's and other roles' messages ([`Incoming`]), `Decided` from redirections, `Applied` from the
//! backend, `Ask` from control clients.
//! Out: `Decide` to redirections, `Apply` to the backend, [`Events`] to control; over the link `Admin`, `Poll`,
//! `Demote`, `Route`, `Reload`, `Stop`, `SetVerbose`, `SessionList`, `KillSession`, `NatResult`, `Snapshot`.
//! On loss: the process ends and is restarted with host states and switches from the parent.

use super::backend::{self, Backend, Lookup, Prepare};
use super::control::{Close, Control, Events, Listen, Watchers};
use super::counts::Counted;
use super::effects::Effects;
use super::pending::Pending;
use super::redirect::{Redirect, Remove};
use super::samples::{Counters, samples};
use super::state::State;
use crate::board::Board;
use crate::link::{Admin, Incoming, Message, PARENT, Peer, Role, RunState, Sender, Slot, To};
use crate::options::Options;
use actix::fut::ready;
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, ResponseActFuture,
    WrapFuture,
};
use backends::filter::Service;
use conf::limits;
use conf::model::{HostId, RedirectId, TableId};
use protocols::control::Reply;
use protocols::control::extension::Event;
use protocols::log::table as words;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Seconds between two looks at the packet filter's counters.
const COUNTERS_EVERY: u64 = 10;

/// End: cleanly, or because the parent is gone.
#[derive(Clone, Copy, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct End {
    /// Whether the packet filter shall stop redirecting.
    pub release: bool,
}

struct Staged {
    generation: u64,
    config: Arc<conf::Config>,
    run: Arc<RunState>,
    /// Rules of an earlier process serve meanwhile.
    serving: bool,
}

/// The actor.
pub struct Pfe {
    pub(super) link: Sender,
    pub(super) options: Arc<Options>,
    pub(super) state: State,
    pub(super) backend: Addr<Backend>,
    pub(super) control: Addr<Control>,
    pub(super) watchers: Rc<Watchers>,
    pub(super) pending: Pending,
    counters: Rc<Counters>,
    effects: Effects,
    socket: Option<OwnedFd>,
    /// For the packet filter.
    handle: Option<OwnedFd>,
    staged: Option<Staged>,
    pub(super) redirects: BTreeMap<RedirectId, (String, Addr<Redirect>)>,
    pub(super) services: BTreeMap<RedirectId, Arc<Service>>,
    /// What changed of them in the round under way.
    pub(super) changed: Vec<Arc<Service>>,
    /// The backend is to be told everything: there is a new configuration.
    pub(super) anew: bool,
    /// Decisions that the round under way waits for.
    pub(super) deciding: usize,
    /// The rules of an earlier process are left alone until the hosts are known.
    pub(super) held: bool,
    /// Redirections that must decide in the next round.
    pub(super) next_round: BTreeSet<RedirectId>,
    /// The packet filter has told what it counted before this process.
    pub(super) begun: bool,
    /// What the packet filter had counted, by redirection name.
    pub(super) counted: BTreeMap<String, Counted>,
    seconds: u64,
}

impl Pfe {
    /// Starts pfe with its backend and its control socket.
    pub fn start_all(link: Sender, options: Arc<Options>) -> Addr<Pfe> {
        Pfe::create(|ctx| {
            let watchers = Rc::new(Watchers::default());
            let counters = Rc::new(Counters::default());
            let pfe = ctx.address();
            let control = Control::new(pfe.clone(), Rc::clone(&watchers), Rc::clone(&counters));
            let backend = Backend::new(
                Arc::clone(&options),
                link.clone(),
                pfe,
                Rc::clone(&counters),
            );
            Pfe {
                backend: backend.start(),
                control: control.start(),
                counters,
                link,
                options,
                state: State::default(),
                watchers,
                pending: Pending::default(),
                effects: Effects::default(),
                socket: None,
                handle: None,
                staged: None,
                redirects: BTreeMap::new(),
                services: BTreeMap::new(),
                changed: Vec::new(),
                anew: false,
                deciding: 0,
                held: false,
                next_round: BTreeSet::new(),
                begun: false,
                counted: BTreeMap::new(),
                seconds: 0,
            }
        })
    }

    /// Sends what must arrive. Waiting senders are served in the order they came, so nothing overtakes.
    pub(super) fn tell(&self, to: To, message: Message) {
        let link = self.link.clone();
        actix::spawn(async move {
            // The role ends when the parent is gone.
            let _ = link.tell(to, message).await;
        });
    }

    fn incoming(&mut self, incoming: Incoming, ctx: &mut Context<Self>) {
        let from = incoming.from;
        match incoming.message {
            Message::Descriptors { slots } => {
                for (slot, descriptor) in slots.into_iter().zip(incoming.descriptors) {
                    match slot {
                        Slot::Control => self.socket = Some(descriptor),
                        Slot::Board => match Board::map(descriptor.as_fd()) {
                            Ok(board) => self.state.board = Some(Rc::new(board)),
                            Err(error) => tracing::error!("shared counters: {error}"),
                        },
                        Slot::Filter => self.handle = Some(descriptor),
                        _ => {}
                    }
                }
            }
            Message::Stage {
                generation,
                config,
                state,
            } => self.stage(generation, config, state, ctx),
            Message::Commit { generation } => self.commit(generation, ctx),
            Message::Abort { generation } => {
                self.staged.take_if(|s| s.generation == generation);
                self.socket = None;
            }
            Message::HostStatus { hosts } => self.host_status(hosts, ctx),
            Message::RoundEnd => self.event(|| (Some(Reply::Sync), Some(Event::Sync))),
            Message::RelayStatistics { sessions } => self.relay_sessions(from, &sessions),
            Message::ForwardingStatistics { forwarded } => {
                self.backend.do_send(backend::Count(forwarded));
            }
            Message::Sessions {
                request,
                sessions,
                last,
            } => self.pending.sessions(from, request, sessions, last),
            Message::NatLookup {
                request,
                client,
                local,
            } => self.nat_lookup(from, request, Lookup { client, local }, ctx),
            Message::Restarted { peer } => self.pending.lost(peer),
            Message::Verdict {
                client,
                generation,
                errors,
            } => self.pending.verdict(client, generation, errors),
            _ => {}
        }
    }

    fn stage(
        &mut self,
        generation: u64,
        config: Arc<conf::Config>,
        run: Arc<RunState>,
        ctx: &mut Context<Self>,
    ) {
        let prepare = self.backend.send(Prepare {
            config: Arc::clone(&config),
            tags: run.tags.clone(),
            handle: self.handle.take(),
        });
        let answer = prepare.into_actor(self).map(move |result, pfe, _| {
            let result = result.unwrap_or_else(|e| Err(e.to_string()));
            if let Ok(serving) = result {
                pfe.staged = Some(Staged {
                    generation,
                    config,
                    run,
                    serving,
                });
            }
            let error = result.err();
            pfe.tell(PARENT, Message::Staged { generation, error });
        });
        ctx.wait(answer);
    }

    fn commit(&mut self, generation: u64, ctx: &mut Context<Self>) {
        let Some(staged) = self.staged.take_if(|s| s.generation == generation) else {
            return;
        };
        let first = self.state.generation == 0;
        if first {
            self.effects.start_from(&staged.run.demotion);
        }
        let before = std::mem::take(&mut self.state);
        self.state = State::new(generation, staged.config, &staged.run, &before);
        if first && staged.serving {
            self.hold(ctx);
        }
        self.configure(ctx);
        let known = &self.state.redirect_sessions;
        self.counted.retain(|name, _| known.contains_key(name));
        let all: Vec<RedirectId> = self.redirects.keys().copied().collect();
        if all.is_empty() {
            self.apply(ctx);
        }
        self.decide(all);
        let effects = self.effects.all(&self.state);
        self.tell_parent(effects);
        if let Some(socket) = self.socket.take() {
            self.control.do_send(Listen(socket));
        }
        self.event(|| (None, Some(Event::Reload { generation })));
    }

    /// Follows up a change of hosts in `tables`, and of redirections themselves.
    pub(super) fn changed(&mut self, tables: &BTreeSet<TableId>, mut redirects: Vec<RedirectId>) {
        redirects.extend(self.state.redirects_of(tables));
        if !redirects.is_empty() {
            self.decide(redirects);
        }
        let effects = self.effects.of(&self.state, tables);
        self.tell_parent(effects);
    }

    fn tell_parent(&self, messages: Vec<Message>) {
        for message in messages {
            self.tell(PARENT, message);
        }
    }

    /// Makes administrative changes, and tells everyone who must know.
    pub(super) fn admin(&mut self, changes: &[Admin]) {
        let mut tables = BTreeSet::new();
        let mut redirects = Vec::new();
        for change in changes {
            if !self.state.admin(*change) {
                continue;
            }
            match *change {
                Admin::Host { id, disabled } => {
                    tracing::debug!("{}", words::host_switched(id, disabled));
                    tables.extend(self.tables_of(id));
                }
                Admin::Table { id, disabled } => {
                    tracing::debug!("{}", words::table_switched(id, disabled));
                    tables.insert(id);
                }
                Admin::Drain { id, .. } => tables.extend(self.tables_of(id)),
                Admin::Redirect { id, .. } => redirects.push(id),
                Admin::Relay { .. } => {}
            }
            // Relays set a host to unknown then, and a check's result that followed must not be lost by that.
            for role in [Role::Relay, Role::Hce] {
                self.tell(To::All(role), Message::Admin { change: *change });
            }
        }
        self.changed(&tables, redirects);
    }

    /// The tables of a host and of those that copy its state.
    fn tables_of(&self, id: HostId) -> Vec<TableId> {
        let family = self.state.family(id);
        let places = family.filter_map(|id| self.state.host(id));
        places.map(|(table, _)| table.id).collect()
    }

    fn nat_lookup(&self, from: Peer, request: u64, lookup: Lookup, ctx: &mut Context<Self>) {
        let answer = self.backend.send(lookup).into_actor(self);
        ctx.spawn(answer.map(move |result, pfe, _| {
            let result = Message::NatResult {
                request,
                destination: result.ok().flatten(),
            };
            pfe.tell(To::One(from), result);
        }));
    }

    /// Sends an event to monitors, if there are any.
    pub(super) fn event(&self, make: impl FnOnce() -> (Option<Reply>, Option<Event>)) {
        if self.watchers.any() {
            self.control.do_send(Events(vec![make()]));
        }
    }

    fn second(&mut self, ctx: &mut Context<Self>) {
        self.seconds += 1;
        self.backend.do_send(backend::Tick);
        if !self.redirects.is_empty() && self.seconds.is_multiple_of(COUNTERS_EVERY) {
            self.look(ctx);
        }
        let interval = limits::STATISTICS_INTERVAL.as_secs();
        if self.seconds.is_multiple_of(interval) {
            self.interval_ended();
        }
        if self.options.metrics.is_some() {
            let samples = samples(&self.state, &self.counters);
            // The next second brings all values again.
            let _ = self
                .link
                .try_send(To::All(Role::Status), Message::Snapshot { samples });
        }
    }
}

impl Actor for Pfe {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(limits::LINK_QUEUE);
        ctx.run_interval(Duration::from_secs(1), Pfe::second);
    }
}

impl Handler<Incoming> for Pfe {
    type Result = ();

    fn handle(&mut self, incoming: Incoming, ctx: &mut Context<Self>) {
        self.incoming(incoming, ctx);
    }
}

impl Handler<End> for Pfe {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, end: End, _: &mut Context<Self>) -> Self::Result {
        let (backend, control) = (self.backend.clone(), self.control.clone());
        let ending = async move {
            if end.release {
                let _ = backend.send(backend::Release).await;
            }
            let _ = control.send(Close).await;
        };
        Box::pin(ending.into_actor(self).then(|(), pfe, ctx| {
            for (_, actor) in pfe.redirects.values() {
                actor.do_send(Remove);
            }
            ctx.stop();
            ready(())
        }))
    }
}
