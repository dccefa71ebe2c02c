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
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};
use tokio::io::AsyncWrite;

/// Serves a session until it ends.
pub async fn serve(context: Rc<Context>, session: Rc<Session>, client: Stream) -> Ended {
    let choice = Choice::new(&session);
    let connected = Box::pin(connect::connect(&context, &session, &client, choice)).await;
    match connected {
        Ok(server) => pump(context, session, client, server.stream, server.guard).await,
        Err(error) => error.ended(),
    }
}

/// Passes bytes in both directions until both have ended.
pub async fn pump(
    context: Rc<Context>,
    session: Rc<Session>,
    mut client: Stream,
    mut server: Stream,
    guard: Option<HostGuard>,
) -> Ended {
    let _guard = guard;
    let mut up = Way::new(From::Client);
    let mut down = Way::new(From::Server);
    let result = poll_fn(|cx| {
        let up = up.poll(cx, &context, &session, &mut client, &mut server)?;
        let down = down.poll(cx, &context, &session, &mut server, &mut client)?;
        match (up, down) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(io::Result::Ok(())),
            _ => Poll::Pending,
        }
    })
    .await;
    match result {
        Ok(()) if up.late || down.late => Ended::closed(words::LAST_WRITE),
        Ok(()) => Ended::done(),
        Err(_) => Ended::failed(words::ERROR),
    }
}

/// One direction.
#[derive(Debug)]
struct Way {
    from: From,
    /// What the last write left over, and how much of it is written since.
    rest: Vec<u8>,
    written: usize,
    pipe: Option<Pipe>,
    /// Full reads in a row.
    full: u8,
    /// Bytes spliced since the last pause.
    spliced: usize,
    splicing: bool,
    /// The sender has ended.
    ended: bool,
    /// The receiver knows it.
    shut: bool,
    /// Bytes still waited when the sender ended.
    late: bool,
}

impl Way {
    fn new(from: From) -> Self {
        Way {
            from,
            rest: Vec::new(),
            written: 0,
            pipe: None,
            full: 0,
            spliced: 0,
            splicing: false,
            ended: false,
            shut: false,
            late: false,
        }
    }

    /// Moves bytes until one side must be waited for; ready at the end of the direction.
    fn poll(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        source: &mut Stream,
        sink: &mut Stream,
    ) -> Poll<io::Result<()>> {
        while !self.shut {
            if !self.rest.is_empty() {
                ready!(self.flush(cx, context, session, sink))?;
            } else if self.ended {
                ready!(Pin::new(&mut *sink).poll_shutdown(cx)).or_else(gone)?;
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
            self.rest = bytes.get(wrote..).unwrap_or_default().to_vec();
            self.written = 0;
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
        let bytes = self.rest.get(self.written..).unwrap_or_default();
        match sink.poll_write_some(cx, bytes) {
            Poll::Pending => {
                session.blocked(self.from, true);
                return Poll::Pending;
            }
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(wrote) => self.written += wrote?,
        }
        session.touch(self.from, context.clock.seconds());
        if self.written >= self.rest.len() {
            // Memory is held only while bytes wait.
            self.rest = Vec::new();
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
        let Some(pipe) = self.pipe.take().or_else(|| context.pipes.take()) else {
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
        match pipe.poll_fill(cx, source, limits::PIPE_SIZE) {
            Poll::Pending => {
                // A pause: others may have the pipe.
                self.pipe = None;
                self.splicing = self.spliced >= limits::SPLICE_WORTH;
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
                self.spliced = self.spliced.saturating_add(moved);
                self.moved(context, session, moved);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn moved(&self, context: &Context, session: &Session, count: usize) {
        session.touch(self.from, context.clock.seconds());
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
