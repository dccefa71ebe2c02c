//! A request and its response under way.
//! Owns their state and the movement of both bodies.
//! Must never outlive its end: an idle session has none.

use super::super::connect::Choice;
use super::super::context::Context;
use super::super::relays::HostGuard;
use super::super::session::Ended;
use super::super::stream::Stream;
use super::driver::{Driver, broken};
use super::pace::Pace;
use super::way::Way;
use protocols::http::{Method, Refusal, Version};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};
use tokio::io::ReadBuf;

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) stream: Stream,
    pub(super) guard: Option<HostGuard>,
    pub(super) address: SocketAddr,
}

/// A request and its response under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) version: Version,
    /// The client goes on after this exchange.
    pub(super) client_keep: bool,
    /// The server was asked to go on.
    pub(super) server_keep: bool,
    pub(super) expects: bool,
    pub(super) upgrade: bool,
    /// The request's body is not passed on.
    pub(super) drops_body: bool,
    /// The server takes no more of the request.
    pub(super) broken: bool,
    /// Nothing more is to be learnt from the client's socket before the response.
    pub(super) watched: bool,
    /// Something was logged for this exchange.
    pub(super) logged: bool,
    pub(super) up: Way,
    pub(super) down: Way,
    /// The response head so far.
    pub(super) head: Vec<u8>,
    pub(super) interim: u32,
    pub(super) pace: Pace,
    /// The response head was passed on.
    pub(super) answered: bool,
    /// The request once more, if it may be repeated on another connection.
    pub(super) again: Option<Vec<u8>>,
    pub(super) choice: Choice,
    /// A place in the session's host, until there is a connection.
    pub(super) place: Option<HostGuard>,
    pub(super) server: Option<Server>,
}

/// How an exchange went on.
pub(super) enum Turn {
    /// Done; the next request may come.
    Next,
    /// The kept connection was closed by its server: once more on a new one.
    Again,
    /// Both sides now speak another protocol.
    Tunnel,
    /// The session ends.
    End(Ended),
    /// The same, while the client is still sending.
    Linger(Ended),
    /// The client gets an error.
    Refuse(Refusal),
}

impl Driver {
    /// Moves both bodies; at the end the server connection is kept or closed.
    pub(super) fn poll_exchange(&mut self, cx: &mut Task<'_>) -> Poll<Turn> {
        let context = Rc::clone(&self.context);
        let Some(mut exchange) = self.exchange.take() else {
            return Poll::Ready(Turn::Next);
        };
        if exchange.up.is_done()
            && !exchange.watched
            && let Poll::Ready(seen) = watch(cx, &self.client)
        {
            if let Err(error) = seen {
                return self.leave(exchange, Turn::End(broken(&error)));
            }
            exchange.watched = true;
        }
        let up = match self.poll_up(cx, &context, &mut exchange) {
            Poll::Ready(Err(turn)) => return self.leave(exchange, turn),
            other => other.is_ready(),
        };
        let down = match self.poll_down(cx, &context, &mut exchange) {
            Poll::Ready(Err(turn)) => return self.leave(exchange, turn),
            other => other.is_ready(),
        };
        if up && let Some(record) = &mut self.record {
            record.received();
        }
        if down && (exchange.broken || (!up && !exchange.client_keep)) {
            exchange.pace.close(&context, &self.session);
            // The server has answered without wanting all of the request.
            self.account(&exchange);
            return Poll::Ready(Turn::Linger(Ended::done()));
        }
        if up && down {
            exchange.pace.close(&context, &self.session);
            return Poll::Ready(self.finish(&context, *exchange));
        }
        let mut pace = std::mem::take(&mut exchange.pace);
        let socket = self.client.socket();
        let slow = pace.judge(cx, &context, &self.session, socket, &exchange);
        exchange.pace = pace;
        if let Some(refusal) = slow {
            let turn = match exchange.answered {
                true => self.give_up(refusal),
                false => Turn::Refuse(refusal),
            };
            return self.leave(exchange, turn);
        }
        self.exchange = Some(exchange);
        Poll::Pending
    }

    /// The end of a session that broke a rule when its client could no longer be told.
    pub(super) fn give_up(&self, refusal: Refusal) -> Turn {
        self.context.http.count_refused(refusal);
        Turn::End(Ended::closed(refusal.message))
    }

    fn leave(&mut self, exchange: Box<Exchange>, turn: Turn) -> Poll<Turn> {
        self.account(&exchange);
        self.exchange = Some(exchange);
        Poll::Ready(turn)
    }

    /// Notes for the access log what was moved.
    fn account(&mut self, exchange: &Exchange) {
        if let Some(record) = &mut self.record {
            record.bodies(exchange.up.total, exchange.down.total);
        }
    }

    fn finish(&mut self, context: &Rc<Context>, exchange: Exchange) -> Turn {
        self.account(&exchange);
        self.conclude(0, &Ended::done());
        // An idle connection would take a place that others wait for; `no pool` asks for one per client all the same.
        let pool = self.session.relay.protocol.http.pool;
        let kept = exchange
            .server
            .filter(|server| exchange.server_keep && !(pool && server.limited()));
        if let Some(server) = kept {
            if self.pools() {
                let pool = &context.http.pool;
                pool.put(context, server.address, server.stream);
            } else {
                self.server = Some(Box::new(server));
            }
        }
        if exchange.client_keep {
            Turn::Next
        } else {
            Turn::End(Ended::done())
        }
    }

    /// Passes on the request's body.
    fn poll_up(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Turn>> {
        let Exchange { up, server, .. } = exchange;
        let Some(server) = server else {
            return Poll::Pending;
        };
        loop {
            match up.poll_flush(cx, context, &self.session, &mut server.stream) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    // It may have answered already.
                    up.clear();
                    exchange.broken = true;
                }
            }
            if up.is_done() {
                return Poll::Ready(Ok(()));
            }
            if exchange.broken {
                return Poll::Pending;
            }
            if !exchange.drops_body && up.splices() {
                match up.poll_splice(cx, context, &self.session, &self.client, &server.stream) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Some(0))) => {
                        return Poll::Ready(Err(Turn::End(Ended::done())));
                    }
                    Poll::Ready(Ok(Some(_))) => continue,
                    Poll::Ready(Ok(None)) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(Turn::End(broken(&error))));
                    }
                }
            }
            let mut scratch = context.scratch.borrow_mut();
            let read = up.poll_read(cx, context, &self.session, &mut self.client, &mut scratch);
            let count = match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Turn::End(Ended::done()))),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Turn::End(broken(&error)))),
            };
            let bytes = scratch.get(..count).unwrap_or_default();
            let taken = match up.advance(bytes) {
                Ok(taken) => taken,
                Err(refusal) if exchange.answered => {
                    return Poll::Ready(Err(self.give_up(refusal)));
                }
                Err(refusal) => return Poll::Ready(Err(Turn::Refuse(refusal))),
            };
            let (body, after) = bytes.split_at_checked(taken).unwrap_or((bytes, b""));
            self.kept.extend_from_slice(after);
            if !exchange.drops_body && up.send(cx, &mut server.stream, body).is_err() {
                up.clear();
                exchange.broken = true;
            }
            up.consider(&self.session, count == scratch.len());
        }
    }
}

/// Whether the client is still there: ready with an error if not, else as soon as there is anything to read.
fn watch(cx: &mut Task<'_>, client: &Stream) -> Poll<io::Result<()>> {
    let mut byte = [0];
    ready!(client.socket().poll_peek(cx, &mut ReadBuf::new(&mut byte)))?;
    Poll::Ready(Ok(()))
}
