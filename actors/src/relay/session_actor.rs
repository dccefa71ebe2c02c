//! Session: one connection of a client, from accept to its log line.
//! Owns the session's life: registration, its one future that moves bytes, timers, kill, the log line.
//! Must never let a panic of that future out, and never pass bytes through its mailbox.
//!
//! In: [`End`] (registry: timeout, kill, drain). Out: nothing; counters and the registry are updated in place.
//! On loss: the client's and the server's connection close; nothing else is touched.

use super::clients::Place;
use super::context::Context;
use super::session::{Ended, Session};
use super::stream::Stream;
use super::{http, tcp};
use crate::panics;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, Message, WrapFuture};
use conf::model::ProtocolKind;
use protocols::log::session as words;
use std::future::Future;
use std::rc::Rc;

/// Ends the session.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct End {
    /// Reason in its log line.
    pub reason: &'static str,
}

/// The actor.
#[derive(Debug)]
pub struct SessionActor {
    context: Rc<Context>,
    session: Rc<Session>,
    ended: Option<Box<Ended>>,
}

impl SessionActor {
    /// Begins a session with an accepted connection.
    pub fn begin(context: Rc<Context>, session: Rc<Session>, client: Stream, place: Place) {
        SessionActor::create(|ctx| {
            let actor = SessionActor {
                context: Rc::clone(&context),
                session: Rc::clone(&session),
                ended: None,
            };
            context.sessions.insert(&session, ctx.address(), place);
            // Each kind is spawned by itself: the future of one must not be as large as that of the largest.
            match session.relay.protocol.kind {
                ProtocolKind::Http => actor.run(ctx, http::serve(context, session, client)),
                _ => actor.run(ctx, tcp::serve(context, session, client)),
            }
            actor
        });
    }

    fn run(&self, ctx: &mut actix::Context<Self>, work: impl Future<Output = Ended> + 'static) {
        let work = panics::catch(work).into_actor(self);
        ctx.spawn(work.map(|result, actor, ctx| {
            // The panic hook has logged where.
            actor.ended = Some(Box::new(result.unwrap_or_else(|_| {
                actor.context.counters.panics.up();
                Ended::failed(words::ABORTED)
            })));
            ctx.stop();
        }));
    }
}

impl Actor for SessionActor {
    type Context = actix::Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        let (context, session) = (&self.context, &self.session);
        context.sessions.remove(session);
        let ended = self
            .ended
            .take()
            .map_or_else(|| Ended::failed(words::ABORTED), |ended| *ended);
        if ended.error {
            context.counters.failed.up();
        }
        session.report(context, &ended);
    }
}

impl Handler<End> for SessionActor {
    type Result = ();

    fn handle(&mut self, end: End, ctx: &mut Self::Context) {
        self.session.done.set(true);
        self.session.killed.set(Some(end.reason));
        self.ended = Some(Box::new(Ended::failed(end.reason)));
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::*;
    use crate::relay::relays::Relay;
    use crate::relay::session::From;
    use crate::relay::testing::{context, relay};
    use std::time::Duration;

    fn begin(
        context: &Rc<Context>,
        relay: &Rc<Relay>,
        work: impl Future<Output = Ended> + 'static,
    ) -> Rc<Session> {
        let client = "127.0.0.1:9".parse().unwrap();
        let now = context.clock.seconds();
        let session = Session::new(context.sessions.number(), Rc::clone(relay), client, now);
        let session = Rc::new(session);
        let place = context.admit(relay, session.client.ip(), 0).unwrap();
        SessionActor::create(|ctx| {
            let actor = SessionActor {
                context: Rc::clone(context),
                session: Rc::clone(&session),
                ended: None,
            };
            context.sessions.insert(&session, ctx.address(), place);
            actor.run(ctx, work);
            actor
        });
        session
    }

    async fn until_left(context: &Context, count: usize) {
        for _ in 0..1000 {
            if context.sessions.len() == count {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{} sessions are left", context.sessions.len());
    }

    #[actix::test]
    async fn a_panic_ends_its_session_only() {
        let context = context();
        let relay = relay(600);
        begin(&context, &relay, std::future::pending());
        begin(&context, &relay, async { panic!("a bug in a session") });
        assert_eq!(context.sessions.len(), 2);
        until_left(&context, 1).await;
        assert_eq!(context.counters.panics.get(), 1);
        assert_eq!(context.counters.failed.get(), 1);
        // The process still begins sessions.
        begin(&context, &relay, async { Ended::done() });
        until_left(&context, 1).await;
        assert_eq!(context.counters.failed.get(), 1);
    }

    #[actix::test]
    async fn timers_end_what_is_idle_stalled_or_drained_and_wake_deadlines() {
        let context = context();
        let (short, long) = (relay(10), relay(1000));
        let idle = begin(&context, &short, std::future::pending());
        let busy = begin(&context, &short, std::future::pending());
        let stalled = begin(&context, &short, std::future::pending());
        let drained = begin(&context, &long, std::future::pending());
        let slot: Rc<std::cell::OnceCell<Rc<Session>>> = Rc::default();
        let later = Rc::clone(&slot);
        let waiting = begin(&context, &long, async move {
            while later.get().is_none() {
                tokio::task::yield_now().await;
            }
            if let Some(session) = later.get() {
                session.deadline().await;
            }
            Ended::done()
        });
        slot.set(Rc::clone(&waiting)).unwrap();
        waiting.set_deadline(&context, Some(Duration::from_secs(30)));
        drained.drain(&context, Duration::from_secs(20));
        stalled.blocked(From::Server, true);
        for second in 0..=40 {
            busy.touch(From::Client, second);
            stalled.touch(From::Client, second);
            context.sessions.tick(second);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let alive = |session: &Rc<Session>| session.key.get().is_some();
            assert!(alive(&busy), "second {second}");
            assert_eq!(alive(&idle), second <= 10, "idle at {second}");
            assert_eq!(alive(&stalled), second <= 10, "stalled at {second}");
            assert_eq!(alive(&drained), second < 20, "drained at {second}");
            assert_eq!(alive(&waiting), second <= 30, "deadline at {second}");
        }
        assert!(context.sessions.kill(busy.id, words::ABORTED));
        until_left(&context, 0).await;
        assert!(!context.sessions.kill(busy.id, words::ABORTED));
    }
}
