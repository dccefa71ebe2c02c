//! One direction of an exchange: a body on its way from one socket to the other.
//! Owns the position in the body, what the receiver did not take yet, and the pipe of a long body.
//! Must never read while bytes wait: a slow receiver slows its sender, not our memory.

use super::super::context::Context;
use super::super::session::{From, Session};
use super::super::splice::Pipe;
use super::super::stream::Stream;
use conf::limits;
use protocols::http::{Body, Framing, Refusal};
use std::cell::Cell;
use std::io;
use std::task::{Context as Task, Poll, ready};

/// One direction.
#[derive(Debug)]
pub(super) struct Way {
    from: From,
    pub(super) body: Body,
    /// Bytes of the body so far, for an access log.
    pub(super) total: u64,
    rest: Vec<u8>,
    written: usize,
    pipe: Option<Pipe>,
    splicing: bool,
    /// Bytes spliced since the last pause.
    spliced: usize,
    /// Bytes that the client sent or took.
    passed: Cell<u64>,
}

impl Way {
    pub(super) fn new(from: From) -> Way {
        Way {
            from,
            body: Body::new(Framing::None, 0),
            total: 0,
            rest: Vec::new(),
            written: 0,
            pipe: None,
            splicing: false,
            spliced: 0,
            passed: Cell::new(0),
        }
    }

    /// Bytes that the client sent, or that were given to its socket, on this way.
    pub(super) fn passed(&self) -> u64 {
        self.passed.get()
    }

    fn pass(&self, side: From, count: usize) {
        if self.from == side {
            self.passed
                .set(self.passed.get().wrapping_add(count as u64));
        }
    }

    /// Bytes wait for the receiver.
    pub(super) fn is_blocked(&self) -> bool {
        !self.rest.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// The body is complete and passed on, as far as [`Way::poll_flush`] was ready.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_done() && self.pipe.is_none()
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> &[u8] {
        self.rest.get(self.written..).unwrap_or_default()
    }

    /// Keeps bytes for later.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.rest = Vec::new();
        self.written = 0;
        self.pipe = None;
        self.splicing = false;
    }

    /// Writes what is possible at once and keeps the remainder.
    pub(super) fn send(
        &mut self,
        cx: &mut Task<'_>,
        to: &mut Stream,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut wrote = 0;
        if self.rest.is_empty()
            && !bytes.is_empty()
            && let Poll::Ready(count) = to.poll_write_some(cx, bytes)
        {
            wrote = count?;
            self.pass(From::Server, wrote);
        }
        if wrote < bytes.len() {
            self.keep(bytes.get(wrote..).unwrap_or_default());
        }
        Ok(())
    }

    /// Writes what waits, in memory and in the pipe; ready when nothing is left.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        to: &mut Stream,
    ) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let wrote = to.poll_write_some(cx, self.waiting());
            self.written += ready!(self.wrote(wrote, context, session))?;
            if self.written >= self.rest.len() {
                self.rest = Vec::new();
                self.written = 0;
            }
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            let Some(socket) = to.plain() else { break };
            let moved = pipe.poll_drain(cx, socket);
            ready!(self.wrote(moved, context, session))?;
        }
        if self.body.is_done() {
            self.pipe = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes the result of a write.
    fn wrote(
        &self,
        wrote: Poll<io::Result<usize>>,
        context: &Context,
        session: &Session,
    ) -> Poll<io::Result<usize>> {
        session.blocked(self.from, wrote.is_pending());
        let count = ready!(wrote)?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        session.touch(self.from, context.clock.seconds());
        self.pass(From::Server, count);
        Poll::Ready(Ok(count))
    }

    /// Reads into `buffer`; 0 is the end of the sender.
    pub(super) fn poll_read(
        &self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        stream: &mut Stream,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(stream.poll_read_some(cx, buffer))?;
        moved(context, session, self.from, count);
        self.pass(From::Client, count);
        Poll::Ready(Ok(count))
    }

    /// Decides whether what follows is worth splicing; `full` = the last read filled the buffer.
    pub(super) fn consider(&mut self, session: &Session, full: bool) {
        let known = self.body.opaque();
        self.splicing = known >= limits::SPLICE_WORTH as u64
            && (full || known != u64::MAX)
            && session.relay.protocol.tcp.splice;
    }

    /// Whether the next bytes shall be spliced.
    pub(super) fn splices(&self) -> bool {
        self.splicing && self.body.opaque() > 0
    }

    /// Moves bytes of the body from `source` into the pipe; [`Way::poll_flush`] takes them out. Answers how many;
    /// `None` = splicing is not possible or no longer worth it: go on by reading.
    pub(super) fn poll_splice(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        source: &Stream,
        sink: &Stream,
    ) -> Poll<io::Result<Option<usize>>> {
        let (Some(source), Some(_)) = (source.plain(), sink.plain()) else {
            self.splicing = false;
            return Poll::Ready(Ok(None));
        };
        let Some(mut pipe) = self.pipe.take().or_else(|| context.pipes.take()) else {
            self.splicing = false;
            return Poll::Ready(Ok(None));
        };
        let max = usize::try_from(self.body.opaque()).unwrap_or(usize::MAX);
        match pipe.poll_fill(cx, source, max) {
            Poll::Pending => {
                // A pause: others may have the pipe.
                self.splicing = self.spliced >= limits::SPLICE_WORTH;
                self.spliced = 0;
                if self.splicing {
                    Poll::Pending
                } else {
                    Poll::Ready(Ok(None))
                }
            }
            Poll::Ready(Ok(count)) => {
                self.pipe = Some(pipe);
                self.spliced = self.spliced.saturating_add(count);
                self.body.skip(count as u64);
                self.total = self.total.wrapping_add(count as u64);
                moved(context, session, self.from, count);
                self.pass(From::Client, count);
                Poll::Ready(Ok(Some(count)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// Looks at bytes of the body; answers how many belong to it.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let taken = self.body.advance(bytes)?;
        self.total = self.total.wrapping_add(taken as u64);
        Ok(taken)
    }
}

/// Counts bytes that came from one side.
pub(super) fn moved(context: &Context, session: &Session, from: From, count: usize) {
    session.moved(from, context.clock.seconds(), count);
    match from {
        From::Client => context.counters.bytes_in.add(count as u64),
        From::Server => context.counters.bytes_out.add(count as u64),
    }
}
