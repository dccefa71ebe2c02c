//! One client's connection: requests one after the other, each an exchange with a server.
//! Owns the order of things: request, server, both bodies, next request.
//! Must never hold the process's buffers over a wait, nor memory while the client is idle.

use super::super::connect::{self, Choice, Chosen, ConnectError};
use super::super::context::Context;
use super::super::relays::HostGuard;
use super::super::session::{Ended, From, Session};
use super::super::stream::Stream;
use super::super::tcp;
use super::answer;
use super::way::{Way, moved};
use protocols::http::{Method, Refusal, Version};
use protocols::log::session as words;
use protocols::rules::Memory;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context as Task, Poll};
use tokio::io::AsyncWriteExt;

/// A session's state; small, because most sessions are idle most of the time.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) context: Rc<Context>,
    pub(super) session: Rc<Session>,
    pub(super) client: Stream,
    /// Bytes of the next request.
    pub(super) kept: Vec<u8>,
    /// They were looked at and are not a whole head.
    pub(super) partial: bool,
    pub(super) memory: Memory,
    /// Address the client connected to, once a rule asks.
    pub(super) local: Option<IpAddr>,
    /// Table chosen by a rule, and the host of this session.
    pub(super) chosen: Option<Box<(Option<usize>, Chosen)>>,
    /// Connection that is not shared.
    pub(super) server: Option<Box<Server>>,
    pub(super) exchange: Option<Box<Exchange>>,
    /// Items of a response were logged: from then on each exchange ends with a semicolon.
    pub(super) marks: bool,
    /// Items of the request at hand were logged.
    pub(super) logged: bool,
}

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
    /// Something was logged for this exchange.
    pub(super) logged: bool,
    pub(super) up: Way,
    pub(super) down: Way,
    /// The response head so far.
    pub(super) head: Vec<u8>,
    pub(super) interim: u32,
    /// The response head was passed on.
    pub(super) answered: bool,
    /// The request once more, if it may be repeated on another connection.
    pub(super) again: Option<Vec<u8>>,
    pub(super) choice: Choice,
    pub(super) server: Option<Server>,
}

/// What a request led to.
pub(super) enum Next {
    /// The head is not complete.
    Partial,
    /// An exchange begins.
    Exchange,
    /// The session ends.
    End(Ended),
    /// The request is refused.
    Refuse(Refusal),
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
    /// The client gets an error.
    Refuse(Refusal),
}

/// What comes after an exchange.
enum Outcome {
    Next,
    End(Ended),
    Tunnel,
}

impl Driver {
    pub(super) fn new(context: Rc<Context>, session: Rc<Session>, client: Stream) -> Driver {
        Driver {
            context,
            session,
            client,
            kept: Vec::new(),
            partial: false,
            memory: Memory::default(),
            local: None,
            chosen: None,
            server: None,
            exchange: None,
            marks: false,
            logged: false,
        }
    }

    /// Serves requests until the session ends.
    pub(super) async fn run(mut self) -> Ended {
        loop {
            let mut next = poll_fn(|cx| self.poll_request(cx)).await;
            if let Next::Partial = next {
                next = Box::pin(self.rest_of_head()).await;
            }
            match next {
                Next::End(ended) => return ended,
                Next::Refuse(refusal) => return Box::pin(self.refuse(refusal, None)).await,
                Next::Exchange | Next::Partial => {}
            }
            match self.exchange().await {
                Outcome::Next => {}
                Outcome::End(ended) => return ended,
                Outcome::Tunnel => return Box::pin(self.tunnel()).await,
            }
        }
    }

    /// Carries out the exchange.
    async fn exchange(&mut self) -> Outcome {
        loop {
            if self.exchange.as_ref().is_some_and(|e| e.server.is_none()) {
                if let Err(error) = Box::pin(self.connect()).await {
                    return Outcome::End(Box::pin(self.unreachable(error)).await);
                }
            }
            match poll_fn(|cx| self.poll_exchange(cx)).await {
                Turn::Next => return Outcome::Next,
                Turn::Again => self.context.http.count(|shared| &shared.retried),
                Turn::End(ended) => return Outcome::End(ended),
                Turn::Refuse(refusal) => {
                    return Outcome::End(Box::pin(self.refuse(refusal, None)).await);
                }
                Turn::Tunnel => return Outcome::Tunnel,
            }
        }
    }

    /// Waits for the rest of a head, but not for ever.
    async fn rest_of_head(&mut self) -> Next {
        let session = Rc::clone(&self.session);
        let limit = session.relay.protocol.http.head_timeout;
        session.set_deadline(&self.context, Some(limit));
        let next = tokio::select! {
            biased;
            next = poll_fn(|cx| self.poll_request(cx)) => next,
            () = session.deadline() => Next::Refuse(Refusal::HEAD_TIMEOUT),
        };
        session.set_deadline(&self.context, None);
        next
    }

    /// Reads until a request head is complete, and begins its exchange.
    fn poll_request(&mut self, cx: &mut Task<'_>) -> Poll<Next> {
        let context = Rc::clone(&self.context);
        if !self.kept.is_empty() && !self.partial {
            let bytes = std::mem::take(&mut self.kept);
            match self.begin(cx, &context, &bytes) {
                Next::Partial => self.partial(&bytes),
                next => return Poll::Ready(next),
            }
            return Poll::Ready(Next::Partial);
        }
        loop {
            let mut scratch = context.scratch.borrow_mut();
            let count = match self.client.poll_read_some(cx, &mut scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Next::End(Ended::done())),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(Next::End(broken(&error))),
            };
            moved(&context, &self.session, From::Client, count);
            let bytes = scratch.get(..count).unwrap_or_default();
            let first = !self.partial;
            let next = if first {
                self.begin(cx, &context, bytes)
            } else {
                self.kept.extend_from_slice(bytes);
                let bytes = std::mem::take(&mut self.kept);
                let next = self.begin(cx, &context, &bytes);
                if let Next::Partial = next {
                    self.kept = bytes;
                }
                next
            };
            match next {
                Next::Partial if first => {
                    self.partial(bytes);
                    return Poll::Ready(Next::Partial);
                }
                Next::Partial => {}
                next => {
                    self.partial = false;
                    return Poll::Ready(next);
                }
            }
        }
    }

    fn partial(&mut self, bytes: &[u8]) {
        self.kept = bytes.to_vec();
        self.partial = true;
    }

    /// Moves both bodies; at the end the server connection is kept or closed.
    fn poll_exchange(&mut self, cx: &mut Task<'_>) -> Poll<Turn> {
        let context = Rc::clone(&self.context);
        let Some(mut exchange) = self.exchange.take() else {
            return Poll::Ready(Turn::Next);
        };
        let up = match self.poll_up(cx, &context, &mut exchange) {
            Poll::Ready(Err(turn)) => return self.leave(exchange, turn),
            other => other.is_ready(),
        };
        let down = match self.poll_down(cx, &context, &mut exchange) {
            Poll::Ready(Err(turn)) => return self.leave(exchange, turn),
            other => other.is_ready(),
        };
        if down && exchange.broken {
            // The server has answered without wanting all of the request.
            return Poll::Ready(Turn::End(Ended::done()));
        }
        if up && down {
            return Poll::Ready(self.finish(&context, *exchange));
        }
        self.exchange = Some(exchange);
        Poll::Pending
    }

    fn leave(&mut self, exchange: Box<Exchange>, turn: Turn) -> Poll<Turn> {
        self.exchange = Some(exchange);
        Poll::Ready(turn)
    }

    fn finish(&mut self, context: &Rc<Context>, exchange: Exchange) -> Turn {
        if let Some(server) = exchange.server.filter(|_| exchange.server_keep) {
            if self.pools() {
                context
                    .http
                    .pool
                    .put(context, server.address, server.stream);
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
                    return Poll::Ready(Err(Turn::End(Ended::closed(refusal.message))));
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

    /// Connects to the server of the exchange.
    async fn connect(&mut self) -> Result<(), ConnectError> {
        let Some(exchange) = &mut self.exchange else {
            return Ok(());
        };
        let first = self.chosen.as_ref().map(|chosen| chosen.1.clone());
        let connected = connect::connect_first(
            &self.context,
            &self.session,
            &self.client,
            exchange.choice,
            first,
        )
        .await?;
        if let Some(chosen) = &mut self.chosen {
            // Another host may have taken over.
            chosen.1.address = connected.address;
            chosen.1.host = connected.guard.as_ref().map(|g| Rc::clone(g.host()));
        }
        exchange.server = Some(Server {
            stream: connected.stream,
            guard: connected.guard,
            address: connected.address,
        });
        Ok(())
    }

    async fn unreachable(&mut self, error: ConnectError) -> Ended {
        let refusal = answer::connect_refusal(&error);
        self.refuse(refusal, Some(error.to_string())).await
    }

    async fn refuse(&mut self, refusal: Refusal, reason: Option<String>) -> Ended {
        let exchange = self.exchange.take();
        let begun = exchange
            .as_ref()
            .is_some_and(|e| e.answered || !e.down.waiting().is_empty());
        let head_only = exchange.is_some_and(|e| e.method == Method::Head);
        let refused = answer::Refused {
            refusal,
            reason,
            page: !begun,
            head_only,
        };
        answer::refuse(&self.context, &self.session, &mut self.client, refused).await
    }

    /// Both sides speak freely from now on.
    async fn tunnel(mut self) -> Ended {
        let Some(Exchange {
            up,
            down,
            server: Some(mut server),
            ..
        }) = self.exchange.take().map(|e| *e)
        else {
            return Ended::failed(words::ABORTED);
        };
        let early = async {
            self.client.write_all(down.waiting()).await?;
            server.stream.write_all(up.waiting()).await?;
            server.stream.write_all(&self.kept).await
        };
        if early.await.is_err() {
            return Ended::failed(words::ERROR);
        }
        tcp::pump(
            self.context,
            self.session,
            self.client,
            server.stream,
            server.guard,
        )
        .await
    }

    /// Whether server connections are shared.
    pub(super) fn pools(&self) -> bool {
        self.session
            .relay
            .http
            .as_ref()
            .is_some_and(|http| http.pool)
    }
}

/// The end of a session whose socket failed.
pub(super) fn broken(_: &io::Error) -> Ended {
    Ended::failed(words::ERROR)
}
