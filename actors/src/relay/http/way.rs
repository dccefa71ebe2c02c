//! One direction of an exchange: a body on its way from one socket to the other.
//! Owns the position in the body and what the receiver did not take yet.
//! Must never read while bytes wait: a slow receiver slows its sender, not our memory.

use super::super::context::Context;
use super::super::session::{From, Session};
use super::super::stream::Stream;
use protocols::http::{Body, Framing};
use std::io;
use std::task::{Context as Task, Poll, ready};

/// One direction.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) from: From,
    pub(super) body: Body,
    rest: Vec<u8>,
    written: usize,
}

impl Way {
    pub(super) fn new(from: From) -> Way {
        Way {
            from,
            body: Body::new(Framing::None, 0),
            rest: Vec::new(),
            written: 0,
        }
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
    }

    /// Writes what is possible at once and keeps the remainder.
    pub(super) fn send(
        &mut self,
        cx: &mut Task<'_>,
        to: &mut Stream,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut wrote = 0;
        if self.rest.is_empty() && !bytes.is_empty() {
            if let Poll::Ready(count) = to.poll_write_some(cx, bytes) {
                wrote = count?;
            }
        }
        self.keep(bytes.get(wrote..).unwrap_or_default());
        Ok(())
    }

    /// Writes what waits; ready when nothing is left.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Task<'_>,
        context: &Context,
        session: &Session,
        to: &mut Stream,
    ) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            match to.poll_write_some(cx, self.waiting()) {
                Poll::Pending => {
                    session.blocked(self.from, true);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => self.written += count?,
            }
            session.touch(self.from, context.clock.seconds());
            if self.written >= self.rest.len() {
                self.clear();
                session.blocked(self.from, false);
            }
        }
        Poll::Ready(Ok(()))
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
        Poll::Ready(Ok(count))
    }
}

/// Counts bytes that came from one side.
pub(super) fn moved(context: &Context, session: &Session, from: From, count: usize) {
    session.touch(from, context.clock.seconds());
    match from {
        From::Client => context.counters.bytes_in.add(count as u64),
        From::Server => context.counters.bytes_out.add(count as u64),
    }
}
