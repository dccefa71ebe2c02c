//! One client's connection: requests one after the other, each an exchange with a server.
//! Owns the order of things: request, server, both bodies, next request.
//! Must never hold the process's buffers over a wait, nor memory while the client is idle.

use super::super::access::Record;
use super::super::connect::{self, Chosen, ConnectError, Pick};
use super::super::context::Context;
use super::super::session::{Ended, From, Session};
use super::super::stream::Stream;
use super::super::tcp;
use super::answer;
use super::exchange::{Exchange, Server, Turn};
use super::way::moved;
use protocols::http::{Method, Refusal};
use protocols::log::session as words;
use protocols::rules::Memory;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
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
    /// What the access log will say of the request at hand.
    pub(super) record: Option<Box<Record>>,
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
            record: None,
        }
    }

    /// Serves requests until the session ends.
    pub(super) async fn run(mut self) -> Ended {
        // A client that says nothing costs a place: the first request has its time from the start.
        let limit = self.session.relay.protocol.http.head_timeout;
        self.session.set_deadline(&self.context, Some(limit));
        loop {
            let mut next = poll_fn(|cx| self.poll_next(cx)).await;
            if let Next::Partial = next {
                next = Box::pin(self.rest_of_head()).await;
            }
            self.session.set_deadline(&self.context, None);
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
            if self.exchange.as_ref().is_some_and(|e| e.server.is_none())
                && let Err(error) = Box::pin(self.connect()).await
            {
                return Outcome::End(Box::pin(self.unreachable(error)).await);
            }
            match poll_fn(|cx| self.poll_exchange(cx)).await {
                Turn::Next => return Outcome::Next,
                Turn::Again => self.context.http.count(|shared| &shared.retried),
                Turn::End(ended) => {
                    self.conclude(0, &ended);
                    return Outcome::End(ended);
                }
                Turn::Linger(ended) => {
                    self.conclude(0, &ended);
                    // An answer that came before the end of its request must not be lost by a reset.
                    Box::pin(answer::linger(&mut self.client)).await;
                    return Outcome::End(ended);
                }
                Turn::Refuse(refusal) => {
                    return Outcome::End(Box::pin(self.refuse(refusal, None)).await);
                }
                Turn::Tunnel => return Outcome::Tunnel,
            }
        }
    }

    /// Waits for a request: the first must come in time, later ones may be long in coming.
    fn poll_next(&mut self, cx: &mut Task<'_>) -> Poll<Next> {
        self.release_ended(cx);
        let next = self.poll_request(cx);
        let first = self.session.requests.get() == 0;
        if first && next.is_pending() && self.session.poll_deadline(cx).is_ready() {
            // No answer to what was not asked: browsers open connections before they need them.
            let refusal = Refusal::HEAD_TIMEOUT;
            self.context.http.count_refused(refusal);
            return Poll::Ready(Next::End(Ended::closed(refusal.message)));
        }
        next
    }

    /// Waits for the rest of a head, but not for ever.
    async fn rest_of_head(&mut self) -> Next {
        let session = Rc::clone(&self.session);
        if session.requests.get() > 0 {
            let limit = session.relay.protocol.http.head_timeout;
            session.set_deadline(&self.context, Some(limit));
        }
        tokio::select! {
            biased;
            next = poll_fn(|cx| self.poll_request(cx)) => next,
            () = session.deadline() => Next::Refuse(Refusal::HEAD_TIMEOUT),
        }
    }

    /// Closes the idle connection to a server once its server has, where it takes a place that others may wait for.
    fn release_ended(&mut self, cx: &mut Task<'_>) {
        while let Some(server) = self.server.as_ref().filter(|server| server.limited())
            && server.stream.socket().poll_read_ready(cx).is_ready()
        {
            if server.stale() {
                self.server = None;
            }
        }
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

    /// Connects to the server of the exchange.
    async fn connect(&mut self) -> Result<(), ConnectError> {
        let Some(exchange) = &mut self.exchange else {
            return Ok(());
        };
        let place = exchange.place.take();
        let first = self
            .chosen
            .as_ref()
            .and_then(|chosen| Pick::with(chosen.1.clone(), place));
        let connected = connect::connect_first(
            &self.context,
            &self.session,
            &self.client,
            exchange.choice,
            first,
        )
        .await?;
        if let Some(guard) = &connected.guard {
            // Another host may have taken over.
            let relay = &self.session.relay;
            let chosen = Chosen::at(relay, guard.host(), connected.address);
            self.chosen = Some(Box::new((exchange.choice.table, chosen)));
        }
        if let Some(record) = &mut self.record {
            record.connected();
        }
        exchange.server = Some(Server {
            stream: connected.stream,
            guard: connected.guard,
            address: connected.address,
        });
        Ok(())
    }

    async fn unreachable(&mut self, error: ConnectError) -> Ended {
        if matches!(error, ConnectError::Gone) {
            let ended = error.ended();
            self.conclude(0, &ended);
            return ended;
        }
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
        if self.record.is_none() {
            // What could not be read was a request, too.
            let number = self.session.next_request(&self.context).number;
            self.record = Record::begin(&self.context, &self.session, number, None);
        }
        let ended = answer::refuse(&self.context, &self.session, &mut self.client, refused).await;
        self.conclude(refusal.status, &ended);
        ended
    }

    /// The request at hand is over; `status` counts if the server gave none.
    pub(super) fn conclude(&mut self, status: u16, ended: &Ended) {
        if let Some(record) = self.record.take() {
            record.end(status, ended.reason.clone());
        }
    }

    /// Both sides speak freely from now on.
    async fn tunnel(mut self) -> Ended {
        self.session.set_deadline(&self.context, None);
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
        let (session, record) = (Rc::clone(&self.session), self.record.take());
        let before = [From::Client, From::Server].map(|from| session.bytes(from));
        let ended = tcp::pump(
            self.context,
            self.session,
            self.client,
            server.stream,
            server.guard,
        )
        .await;
        if let Some(mut record) = record {
            let [client, server] = before;
            record.tunnelled(
                session.bytes(From::Client).saturating_sub(client),
                session.bytes(From::Server).saturating_sub(server),
            );
            record.end(0, ended.reason.clone());
        }
        ended
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
