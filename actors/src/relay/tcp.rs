//! Sessions of `tcp` protocols: bytes pass unchanged in both directions, each of which may end before the other.
//! Owns the byte loop: copy through the process's scratch buffer, or splice(2) once reads come full.
//! Must never hold more than what one write left over: while the receiver is slow, nothing is read for it.

use super::connect::{self, Choice};
use super::context::Context;
use super::relays::HostGuard;
use super::session::{Ended, From, Session};
use super::splice::Pipe;
use super::stream::Stream;
use conf::limits;
use protocols::log::session as words;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};
use tokio::io::AsyncWrite;

/// Serves a session until it ends.
pub fn serve(context: Rc<Context>, session: Rc<Session>, client: Stream) -> Serve {
    Serve::Connecting(Box::pin(async move {
        let choice = Choice::new(&session);
        let connected = connect::connect(&context, &session, &client, choice).await;
        let server = connected.map_err(|error| error.ended())?;
        session.connected();
        Ok(pump(context, session, client, server.stream, server.guard))
    }))
}

/// A session: written out, because an `async` function would keep room for both stages while idle.
pub enum Serve {
    /// Finding a server.
    Connecting(Pin<Box<dyn Future<Output = Result<Pump, Ended>>>>),
    /// Passing bytes.
    Pumping(Pump),
}

impl Future for Serve {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Ended> {
        loop {
            match &mut *self {
                Serve::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(pump) => *self = Serve::Pumping(pump),
                    Err(ended) => return Poll::Ready(ended),
                },
                Serve::Pumping(pump) => return Pin::new(pump).poll(cx),
            }
        }
    }
}

/// Passes bytes in both directions until both have ended.
pub fn pump(
    context: Rc<Context>,
    session: Rc<Session>,
    client: Stream,
    server: Stream,
    guard: Option<HostGuard>,
) -> Pump {
    Pump {
        context,
        session,
        client,
        server,
        up: Way::new(From::Client),
        down: Way::new(From::Server),
        _guard: guard,
    }
}

/// See [`pump`].
#[derive(Debug)]
pub struct Pump {
    context: Rc<Context>,
    session: Rc<Session>,
    client: Stream,
    server: Stream,
    up: Way,
    down: Way,
    _guard: Option<HostGuard>,
}

impl Future for Pump {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Ended> {
        let this = &mut *self;
        let (client, server) = (&mut this.client, &mut this.server);
        let last = this.down.shut;
        let up = this
            .up
            .poll(cx, &this.context, &this.session, client, server, last);
        if let Poll::Ready(Err(_)) = up {
            return Poll::Ready(Ended::failed(words::ERROR));
        }
        let last = this.up.shut;
        let down = this
            .down
            .poll(cx, &this.context, &this.session, server, client, last);
        match (up, down) {
            (_, Poll::Ready(Err(_))) => Poll::Ready(Ended::failed(words::ERROR)),
            (Poll::Ready(_), Poll::Ready(_)) => Poll::Ready(Ended::done()),
            _ => Poll::Pending,
        }
    }
}

/// One direction. Small, because most sessions are idle most of the time.
#[derive(Debug)]
struct Way {
    from: From,
    /// What the last write left over.
    rest: Option<Box<Rest>>,
    pipe: Option<Box<Pipe>>,
    /// Full reads in a row.
    full: u8,
    /// Bytes spliced since the last pause.
    spliced: u32,
    splicing: bool,
    /// The sender has ended.
    ended: bool,
    /// The receiver knows it.
    shut: bool,
}

#[derive(Debug)]
struct Rest {
    bytes: Vec<u8>,
    written: usize,
}

impl Way {
    fn new(from: From) -> Self {
        Way {
            from,
            rest: None,
            pipe: None,
            full: 0,
            spliced: 0,
            splicing: false,
            ended: false,
            shut: false,
        }
    }

    /// Moves bytes until one side must be waited for; ready at the end of the direction. After the `last` direction
    /// both sockets are closed, which tells the receiver as well as a shutdown would.
    fn poll(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        source: &mut Stream,
        sink: &mut Stream,
        last: bool,
    ) -> Poll<io::Result<()>> {
        while !self.shut {
            if self.rest.is_some() {
                ready!(self.flush(cx, context, session, sink))?;
            } else if self.ended {
                if !(last && sink.plain().is_some()) {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).or_else(gone)?;
                }
                self.shut = true;
            } else if self.splicing {
                ready!(self.splice(cx, context, session, source, sink))?;
            } else {
                ready!(self.copy(cx, context, session, source, sink))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// One read into the scratch buffer and one write out of it.
    fn copy(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        source: &mut Stream,
        sink: &mut Stream,
    ) -> Poll<io::Result<()>> {
        let mut scratch = context.scratch.borrow_mut();
        let count = ready!(source.poll_read_some(cx, &mut scratch))?;
        if count == 0 {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        self.moved(context, session, count);
        let bytes = scratch.get(..count).unwrap_or_default();
        let wrote = match sink.poll_write_some(cx, bytes) {
            Poll::Ready(wrote) => wrote?,
            Poll::Pending => 0,
        };
        if wrote < count {
            self.rest = Some(Box::new(Rest {
                bytes: bytes.get(wrote..).unwrap_or_default().to_vec(),
                written: 0,
            }));
        }
        self.full = if count == scratch.len() {
            self.full.saturating_add(1)
        } else {
            0
        };
        if self.full >= 2 && can_splice(session, source, sink) {
            self.full = 0;
            self.spliced = 0;
            self.splicing = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is left over.
    fn flush(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        sink: &mut Stream,
    ) -> Poll<io::Result<()>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(Ok(()));
        };
        let bytes = rest.bytes.get(rest.written..).unwrap_or_default();
        match sink.poll_write_some(cx, bytes) {
            Poll::Pending => {
                session.blocked(self.from, true);
                return Poll::Pending;
            }
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(wrote) => rest.written += wrote?,
        }
        session.touch(self.from, context.clock.seconds());
        if rest.written >= rest.bytes.len() {
            // Memory is held only while bytes wait.
            self.rest = None;
            session.blocked(self.from, false);
        }
        Poll::Ready(Ok(()))
    }

    /// One move into the pipe and as many out of it as it takes.
    fn splice(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        source: &mut Stream,
        sink: &mut Stream,
    ) -> Poll<io::Result<()>> {
        let (Some(source), Some(sink)) = (source.plain(), sink.plain()) else {
            self.splicing = false;
            return Poll::Ready(Ok(()));
        };
        let Some(pipe) = self
            .pipe
            .take()
            .or_else(|| context.pipes.take().map(Box::new))
        else {
            self.splicing = false;
            return Poll::Ready(Ok(()));
        };
        let pipe = self.pipe.insert(pipe);
        if pipe.held() > 0 {
            match pipe.poll_drain(cx, sink) {
                Poll::Pending => {
                    session.blocked(self.from, true);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(moved) => moved?,
            };
            session.blocked(self.from, false);
            session.touch(self.from, context.clock.seconds());
            return Poll::Ready(Ok(()));
        }
        match pipe.poll_fill(cx, source, limits::PIPE_SIZE_LARGE) {
            Poll::Pending => {
                // A pause: others may have the pipe.
                self.pipe = None;
                self.splicing = self.spliced as usize >= limits::SPLICE_WORTH;
                self.spliced = 0;
                if !self.splicing {
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending
            }
            Poll::Ready(Ok(0)) => {
                self.ended = true;
                self.pipe = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(moved) => {
                let moved = moved?;
                self.spliced = self.spliced.saturating_add(moved as u32);
                self.moved(context, session, moved);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn moved(&self, context: &Context, session: &Session, count: usize) {
        session.moved(self.from, context.clock.seconds(), count);
        let host = || session.host().map(|h| h.parts.id);
        let forwards = &context.forwards;
        forwards.moved(&session.relay, host, self.from, 0, count as u64);
        match self.from {
            From::Client => context.counters.bytes_in.add(count as u64),
            From::Server => context.counters.bytes_out.add(count as u64),
        }
    }
}

/// A receiver that is gone already needs no end.
fn gone(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    }
}

fn can_splice(session: &Session, source: &Stream, sink: &Stream) -> bool {
    session.relay.protocol.tcp.splice && source.plain().is_some() && sink.plain().is_some()
}
