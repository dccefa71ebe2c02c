//! Session: one connection of a client, from accept to its log line.
//! Owns the session's life: registration, its one future that moves bytes, timers, kill, the log line.
//! Must never let a panic of that future out, and never pass bytes through its mailbox.
//!
//! In: [`End`] (registry: timeout, kill, drain). Out: nothing; counters and the registry are updated in place.
//! On loss: the client's and the server's connection close; nothing else is touched.

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
    pub fn begin(context: Rc<Context>, session: Rc<Session>, client: Stream) {
        SessionActor::create(|ctx| {
            let actor = SessionActor {
                context: Rc::clone(&context),
                session: Rc::clone(&session),
                ended: None,
            };
            context.sessions.insert(&session, ctx.address());
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
        session.report(&ended, context.sessions.len());
    }
}

impl Handler<End> for SessionActor {
    type Result = ();

    fn handle(&mut self, end: End, ctx: &mut Self::Context) {
        self.session.done.set(true);
        self.ended = Some(Box::new(Ended::failed(end.reason)));
        ctx.stop();
    }
}
