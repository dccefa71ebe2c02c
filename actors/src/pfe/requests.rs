//! What control clients ask for, and what they get.
//! Owns the meaning of each request.
//! Must never let one client's question hold up another's.

use super::actor::Pfe;
use super::backend::{Purge, Statistics};
use super::pending::Found;
use super::{admin, listing};
use crate::link::{Admin, Message, PARENT, Peer, Role, To};
use actix::{ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use conf::limits;
use nix::time::{ClockId, clock_gettime};
use protocols::control::extension::{self, Answer, Event, Topic};
use protocols::control::request::Class;
use protocols::control::{ObjectId, Reply, Request};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

/// A request of a control client, answered by what goes back to it.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "Vec<Reply>")]
pub struct Ask {
    /// Number of the client.
    pub client: u64,
    /// What it wants.
    pub request: Request,
}

type Later = ResponseActFuture<Pfe, Vec<Reply>>;

impl Handler<Ask> for Pfe {
    type Result = Later;

    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) -> Later {
        let client = ask.client;
        match ask.request {
            Request::ShowSummary => self.refreshed(|pfe| listing::summary(&pfe.state)),
            Request::ShowSessions => self.sessions(ctx, |_, found| {
                let sessions: Vec<_> = found.into_iter().map(|(_, s)| s).collect();
                listing::sessions(&sessions, monotonic())
            }),
            Request::Switch {
                class,
                object,
                enable,
            } => {
                let reply = self.switch(class, object, enable);
                self.now(vec![reply])
            }
            Request::Poll => {
                self.tell(To::All(Role::Hce), Message::Poll);
                self.now(vec![Reply::Ok])
            }
            // Answered by the client's own task.
            Request::Monitor => self.now(Vec::new()),
            Request::Reload(file) => {
                self.tell(PARENT, Message::Reload { client, file });
                self.now(Vec::new())
            }
            Request::Stop => {
                self.tell(PARENT, Message::Stop);
                self.now(Vec::new())
            }
            Request::Verbose(level) => {
                let level = u8::try_from(level.max(0)).unwrap_or(u8::MAX);
                self.tell(PARENT, Message::SetVerbose { level });
                self.now(Vec::new())
            }
            Request::Extension(ask) => self.extension(client, ask, ctx),
        }
    }
}

/// The clock that relayctl compares session times with.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

fn name_of(class: Class) -> &'static str {
    match class {
        Class::Redirect => "redirect",
        Class::Table => "table",
        Class::Host => "host",
    }
}

impl Pfe {
    fn now(&self, replies: Vec<Reply>) -> Later {
        Box::pin(actix::fut::ready(replies))
    }

    /// Answers when the packet filter's counters are known.
    fn refreshed(&self, answer: impl FnOnce(&mut Pfe) -> Vec<Reply> + 'static) -> Later {
        if self.state.config.redirects.is_empty() {
            return Box::pin(actix::fut::ready(()).map(|(), pfe: &mut Pfe, _| answer(pfe)));
        }
        let statistics = self.backend.send(Statistics).into_actor(self);
        Box::pin(statistics.map(|result, pfe, _| {
            pfe.counted(result.unwrap_or_default());
            answer(pfe)
        }))
    }

    fn switch(&mut self, class: Class, object: ObjectId, enable: bool) -> Reply {
        let Some(changes) = admin::changes(&self.state, class, &object, enable) else {
            return Reply::Fail;
        };
        self.admin(&changes);
        self.event(|| {
            let event = switched(name_of(class), &object, verb(enable));
            let reply = Reply::Switched {
                class,
                object,
                enable,
            };
            (Some(reply), Some(event))
        });
        Reply::Ok
    }

    /// Makes changes that only our own relayctl can ask for.
    fn change(
        &mut self,
        changes: Option<Vec<Admin>>,
        class: &str,
        object: &ObjectId,
        action: &str,
    ) -> Later {
        let Some(changes) = changes else {
            return self.now(vec![Reply::Fail]);
        };
        self.admin(&changes);
        self.event(|| (None, Some(switched(class, object, action))));
        self.now(vec![Reply::Ok])
    }

    fn extension(&mut self, client: u64, ask: extension::Ask, ctx: &mut Context<Self>) -> Later {
        match ask {
            extension::Ask::Show(Topic::Sessions) => self.sessions(ctx, |_, found| {
                let sessions: Vec<_> = found.into_iter().map(|(_, s)| s).collect();
                listing::session_objects(&sessions)
            }),
            extension::Ask::Show(topic) => {
                self.refreshed(move |pfe| listing::objects(&pfe.state, topic))
            }
            extension::Ask::Reload(file) => self.reload(client, file, ctx),
            extension::Ask::Subscribe => self.now(Vec::new()),
            extension::Ask::KillSession { pid, session } => {
                self.sessions(ctx, move |pfe, found| vec![pfe.kill(&found, pid, session)])
            }
            extension::Ask::Drain { host, drain } => {
                let changes = admin::drain(&self.state, &host, drain);
                let action = if drain { "drain" } else { "undrain" };
                self.change(changes, "host", &host, action)
            }
            extension::Ask::SwitchRelay { relay, enable } => {
                let changes = admin::relay(&self.state, &relay, enable);
                self.change(changes, "relay", &relay, verb(enable))
            }
            extension::Ask::Purge => {
                let purge = self.backend.send(Purge).into_actor(self);
                Box::pin(purge.map(|result, _, _| match result {
                    Ok(true) => vec![Reply::Ok],
                    _ => vec![Reply::Fail],
                }))
            }
        }
    }

    /// Asks all relay processes for their sessions, and answers when all have answered or time is up.
    fn sessions(
        &mut self,
        ctx: &mut Context<Self>,
        answer: impl FnOnce(&mut Pfe, Found) -> Vec<Reply> + 'static,
    ) -> Later {
        let prefork = self.state.config.globals.prefork.max(1);
        let peer = |instance| Peer {
            role: Role::Relay,
            instance,
        };
        let (request, receiver) = self.pending.list((0..prefork).map(peer).collect());
        self.tell(To::All(Role::Relay), Message::SessionList { request });
        ctx.run_later(limits::SESSIONS_TIMEOUT, move |pfe, _| {
            pfe.pending.conclude(request);
        });
        let found = receiver.into_actor(self);
        Box::pin(found.map(|found, pfe, _| answer(pfe, found.unwrap_or_default())))
    }

    /// Session numbers count per process; in one process for all there may be several of a number, and then none is
    /// ended, since it would be a guess.
    fn kill(&self, found: &Found, pid: u32, session: u32) -> Reply {
        let mut wanted = found
            .iter()
            .filter(|(_, s)| s.pid == pid && s.id == u64::from(session));
        match (wanted.next(), wanted.next()) {
            (Some((peer, info)), None) => {
                let message = Message::KillSession { session: info.id };
                self.tell(To::One(*peer), message);
                Reply::Ok
            }
            _ => Reply::Fail,
        }
    }

    fn reload(&mut self, client: u64, file: Option<PathBuf>, ctx: &mut Context<Self>) -> Later {
        let verdict = self.pending.await_verdict(client);
        self.tell(PARENT, Message::Reload { client, file });
        ctx.run_later(limits::VERDICT_TIMEOUT, move |pfe, _| {
            pfe.pending.forget_verdict(client);
        });
        let verdict = verdict.into_actor(self);
        Box::pin(
            verdict.map(|verdict: Result<_, oneshot::error::RecvError>, pfe, _| {
                let (generation, errors) = match verdict {
                    Ok(verdict) => (verdict.generation, verdict.errors),
                    Err(_) => (
                        pfe.state.generation,
                        vec!["no verdict came in time; see the daemon's log".to_owned()],
                    ),
                };
                let accepted = errors.is_empty();
                let messages = errors
                    .into_iter()
                    .map(|text| Reply::Extension(Answer::Message(text)));
                messages
                    .chain(std::iter::once(Reply::Extension(Answer::Verdict {
                        accepted,
                        generation,
                    })))
                    .collect()
            }),
        )
    }
}

fn verb(enable: bool) -> &'static str {
    if enable { "enable" } else { "disable" }
}

fn switched(class: &str, object: &ObjectId, action: &str) -> Event {
    Event::Switched {
        class: class.to_owned(),
        object: object.clone().into(),
        action: action.to_owned(),
    }
}
