//! The response's way to the client.
//! Owns reading its head, rules on it, interim responses, and whether both connections go on.
//! Must never pass on a response whose end it does not know.

use super::super::context::Context;
use super::super::relays::HostGuard;
use super::super::session::Ended;
use super::Parts;
use super::driver::{Driver, broken};
use super::exchange::{Exchange, Server, Turn};
use conf::limits;
use protocols::http::{
    Body, Framing, Head, Parse, Refusal, Version, accepts_upgrade, response_framing,
};
use protocols::log::session as words;
use protocols::rules::Verdict;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

impl Server {
    /// The server said or ended something while nobody asked.
    pub(super) fn stale(&self) -> bool {
        super::pool::stale(&self.stream)
    }

    /// Its host takes only so many connections.
    pub(super) fn limited(&self) -> bool {
        self.guard.as_ref().is_some_and(HostGuard::limited)
    }
}

impl Exchange {
    /// Whether the client's connection can go on after this response.
    fn goes_on(&self, head: &Head, framing: Framing) -> bool {
        // A client that still waits for 100 may or may not send its body now.
        let waits = self.expects && !self.up.body.is_done();
        // A client of version 1.0 takes silence for the end.
        let silent =
            self.version == Version::Http10 && head.version == Version::Http11 && !head.keep_alive;
        self.client_keep && framing != Framing::Close && !waits && !silent
    }
}

impl Driver {
    /// Passes on the response; ready when it is complete and written.
    pub(super) fn poll_down(
        &mut self,
        cx: &mut Task<'_>,
        context: &Rc<Context>,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Turn>> {
        let session = Rc::clone(&self.session);
        loop {
            let Exchange { down, server, .. } = exchange;
            match down.poll_flush(cx, context, &session, &mut self.client) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Turn::End(broken(&error)))),
            }
            if exchange.answered && down.is_done() {
                return Poll::Ready(Ok(()));
            }
            let Some(server) = server else {
                return Poll::Pending;
            };
            if exchange.answered && down.splices() {
                match down.poll_splice(cx, context, &session, &server.stream, &self.client) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Some(0)) | Err(_)) => match server_ended(exchange) {
                        Ok(()) => continue,
                        Err(turn) => return Poll::Ready(Err(turn)),
                    },
                    Poll::Ready(Ok(Some(_))) => continue,
                    Poll::Ready(Ok(None)) => {}
                }
            }
            let mut scratch = context.scratch.borrow_mut();
            let read = down.poll_read(cx, context, &session, &mut server.stream, &mut scratch);
            let count = match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(_)) => 0,
            };
            if count == 0 {
                match server_ended(exchange) {
                    Ok(()) => continue,
                    Err(turn) => return Poll::Ready(Err(turn)),
                }
            }
            let bytes = scratch.get(..count).unwrap_or_default();
            if let Err(turn) = self.received(cx, context, exchange, bytes) {
                return Poll::Ready(Err(turn));
            }
            exchange.down.consider(&session, count == scratch.len());
        }
    }

    /// Takes bytes from the server.
    fn received(
        &mut self,
        cx: &mut Task<'_>,
        context: &Rc<Context>,
        exchange: &mut Exchange,
        bytes: &[u8],
    ) -> Result<(), Turn> {
        exchange.again = None;
        if let Some(record) = &mut self.record {
            record.answered();
        }
        if exchange.answered {
            return self.body(cx, exchange, bytes);
        }
        if exchange.head.is_empty() {
            let taken = self.heads(cx, context, exchange, bytes)?;
            if !exchange.answered {
                exchange.head = bytes.get(taken..).unwrap_or_default().to_vec();
            }
            return Ok(());
        }
        exchange.head.extend_from_slice(bytes);
        let whole = std::mem::take(&mut exchange.head);
        let taken = self.heads(cx, context, exchange, &whole)?;
        if !exchange.answered {
            exchange.head = whole.get(taken..).unwrap_or_default().to_vec();
        }
        Ok(())
    }

    /// Takes response heads, and what follows the final one; answers how many bytes are dealt with.
    fn heads(
        &mut self,
        cx: &mut Task<'_>,
        context: &Rc<Context>,
        exchange: &mut Exchange,
        bytes: &[u8],
    ) -> Result<usize, Turn> {
        let mut at = 0;
        while !exchange.answered {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let mut parts = context.http.parts.borrow_mut();
            match self.head(cx, &mut parts, exchange, rest) {
                Ok(Some(taken)) => at += taken,
                Ok(None) => break,
                Err(turn) => return Err(turn),
            }
        }
        Ok(at)
    }

    /// Takes one response head, with the part of its body that is there.
    fn head(
        &mut self,
        cx: &mut Task<'_>,
        parts: &mut Parts,
        exchange: &mut Exchange,
        bytes: &[u8],
    ) -> Result<Option<usize>, Turn> {
        let session = Rc::clone(&self.session);
        let limit = session.relay.protocol.http.header_length as usize;
        let Parts {
            head, work, out, ..
        } = parts;
        if head.parse_response(bytes, limit).map_err(Turn::Refuse)? == Parse::Partial {
            return Ok(None);
        }
        let framing = response_framing(head, exchange.method).map_err(Turn::Refuse)?;
        let switches = accepts_upgrade(head, exchange.upgrade).map_err(Turn::Refuse)?;
        let interim = head.status < 200 && !switches;
        if interim {
            return self.interim(cx, exchange, bytes, head.len).map(Some);
        }
        let peer = exchange
            .server
            .as_ref()
            .map_or(session.client, |server| server.address);
        let verdict = self.filter(head, bytes, work, peer, Some(session.client));
        self.log_response(exchange, work);
        if verdict.map_err(Turn::Refuse)? == Verdict::Block {
            return Err(Turn::Refuse(Refusal::FORBIDDEN));
        }
        exchange.server_keep &= head.persistent() && framing != Framing::Close;
        if !switches {
            let keep = exchange.goes_on(head, framing);
            exchange.client_keep = work.edits.settle(head, bytes, keep);
        }
        if let Some(cookie) = self.give_cookie(exchange) {
            work.edits.add(b"Set-Cookie", cookie.as_bytes());
        }
        exchange.answered = true;
        if let Some(record) = &mut self.record {
            record.response(head.status, head.len);
        }
        let (_, rest) = bytes.split_at_checked(head.len).unwrap_or((bytes, b""));
        let mut body = Body::new(framing, limit);
        let taken = if switches {
            rest.len()
        } else {
            body.advance(rest)
                .map_err(|refusal| self.bad_body(refusal))?
        };
        exchange.server_keep &= taken == rest.len();
        exchange.down.body = body;
        exchange.down.total = taken as u64;
        let payload = rest.get(..taken).unwrap_or_default();
        let wire = if work.edits.needed(head) {
            out.clear();
            work.edits.render(head, bytes, out);
            out.extend_from_slice(payload);
            out.as_slice()
        } else {
            bytes.get(..head.len + taken).unwrap_or_default()
        };
        exchange
            .down
            .send(cx, &mut self.client, wire)
            .map_err(|error| Turn::End(broken(&error)))?;
        if switches {
            return Err(Turn::Tunnel);
        }
        Ok(Some(bytes.len()))
    }

    /// Passes on an interim response; a client of version 1.0 knows none.
    fn interim(
        &mut self,
        cx: &mut Task<'_>,
        exchange: &mut Exchange,
        bytes: &[u8],
        len: usize,
    ) -> Result<usize, Turn> {
        exchange.interim += 1;
        if exchange.interim > limits::HTTP_INTERIM_MAX {
            return Err(Turn::Refuse(Refusal::INTERIM));
        }
        exchange.expects = false;
        if exchange.version == Version::Http11 {
            exchange
                .down
                .send(cx, &mut self.client, bytes.get(..len).unwrap_or_default())
                .map_err(|error| Turn::End(broken(&error)))?;
        }
        Ok(len)
    }

    /// The server's body cannot be framed: the client has the head already.
    fn bad_body(&self, refusal: Refusal) -> Turn {
        self.context.http.count_refused(Refusal::BAD_GATEWAY);
        Turn::End(Ended::closed(refusal.message))
    }

    /// Takes more of the body.
    fn body(
        &mut self,
        cx: &mut Task<'_>,
        exchange: &mut Exchange,
        bytes: &[u8],
    ) -> Result<(), Turn> {
        let taken = exchange
            .down
            .advance(bytes)
            .map_err(|refusal| self.bad_body(refusal))?;
        exchange.server_keep &= taken == bytes.len();
        exchange
            .down
            .send(cx, &mut self.client, bytes.get(..taken).unwrap_or_default())
            .map_err(|error| Turn::End(broken(&error)))
    }
}

/// The server has ended: a complete response if it ends so, else a failure, else the request is sent once more.
fn server_ended(exchange: &mut Exchange) -> Result<(), Turn> {
    exchange.server_keep = false;
    if exchange.answered {
        if exchange.down.body.until_close() {
            exchange.down.body = Body::new(Framing::None, 0);
            return Ok(());
        }
        return Err(Turn::End(Ended::failed(words::ERROR)));
    }
    if let Some(wire) = exchange.again.take() {
        exchange.server = None;
        exchange.up.clear();
        exchange.up.keep(&wire);
        return Err(Turn::Again);
    }
    Err(Turn::Refuse(Refusal::BAD_GATEWAY))
}
