//! Links between processes: a Unix stream socket that carries frames and descriptors.
//! Owns the frame format and both ends of it.
//! Must never look into a message.
//!
//! Frame: length of the body (u32), version (u16), number of descriptors (u16), all little-endian; then the body
//! in postcard. Descriptors travel with the first byte of their frame. Towards the parent the body is
//! `(To, Message)`, towards a child `(Peer, Message)`: a child cannot name a sender, so it cannot pretend to be another.

use super::message::VERSION;
use super::{Incoming, Link, Message, Outgoing, Peer, Remote, Sender, To, pair};
use backends::sys::pass;
use conf::limits;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const HEADER: usize = 8;
/// Read at once; a message larger than this is read in pieces.
const CHUNK: usize = 64 * 1024;

/// Why a link broke.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The system's answer.
    #[error("link: {0}")]
    Io(#[from] io::Error),
    /// The other end speaks another version: the executable was replaced by a different one while running.
    #[error("link version {found}, expected {VERSION}: restart relayd")]
    Version {
        /// What came.
        found: u16,
    },
    /// A frame longer than [`limits::LINK_MESSAGE_MAX`].
    #[error("link message of {0} bytes")]
    TooLong(usize),
    /// More than [`pass::DESCRIPTORS_MAX`] descriptors, or fewer than announced.
    #[error("link message with {0} descriptors")]
    Descriptors(usize),
    /// The body is no message.
    #[error("link message: {0}")]
    Code(#[from] postcard::Error),
}

fn encode<T: Serialize>(body: &T, descriptors: usize) -> Result<Vec<u8>, TransportError> {
    let count = u16::try_from(descriptors)
        .ok()
        .filter(|&n| usize::from(n) <= pass::DESCRIPTORS_MAX)
        .ok_or(TransportError::Descriptors(descriptors))?;
    let mut frame = postcard::to_extend(body, vec![0; HEADER])?;
    let length = frame.len().saturating_sub(HEADER);
    let word = u32::try_from(length)
        .ok()
        .filter(|_| length <= limits::LINK_MESSAGE_MAX)
        .ok_or(TransportError::TooLong(length))?;
    let header = [
        &word.to_le_bytes()[..],
        &VERSION.to_le_bytes()[..],
        &count.to_le_bytes()[..],
    ]
    .concat();
    if let Some(place) = frame.get_mut(..HEADER) {
        place.copy_from_slice(&header);
    }
    Ok(frame)
}

/// Length of the body and number of descriptors.
fn decode_header(header: [u8; HEADER]) -> Result<(usize, usize), TransportError> {
    let [a, b, c, d, e, f, g, h] = header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let found = u16::from_le_bytes([e, f]);
    let descriptors = usize::from(u16::from_le_bytes([g, h]));
    if found != VERSION {
        return Err(TransportError::Version { found });
    }
    if length > limits::LINK_MESSAGE_MAX {
        return Err(TransportError::TooLong(length));
    }
    if descriptors > pass::DESCRIPTORS_MAX {
        return Err(TransportError::Descriptors(descriptors));
    }
    Ok((length, descriptors))
}

struct FrameReader {
    stream: Rc<UnixStream>,
    /// Its first `filled` bytes came and are not taken yet; the rest is room.
    buffer: Vec<u8>,
    filled: usize,
    descriptors: VecDeque<OwnedFd>,
}

impl FrameReader {
    fn new(stream: Rc<UnixStream>) -> FrameReader {
        FrameReader {
            stream,
            buffer: Vec::new(),
            filled: 0,
            descriptors: VecDeque::new(),
        }
    }

    /// The next message; `None` once the other end has closed.
    async fn next<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, TransportError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            let wanted = self.filled.saturating_add(CHUNK);
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
            let mut arrived = Vec::new();
            let space = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let stream = &self.stream;
            let result = stream
                .async_io(Interest::READABLE, || {
                    pass::receive(stream.as_fd(), space, &mut arrived)
                })
                .await;
            self.descriptors.extend(arrived);
            match result? {
                0 => return Ok(None),
                more => self.filled = self.filled.saturating_add(more),
            }
        }
    }

    fn take<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Vec<OwnedFd>)>, TransportError> {
        let came = self.buffer.get(..self.filled).unwrap_or_default();
        let Some(header) = came.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let (length, count) = decode_header(*header)?;
        let end = HEADER.saturating_add(length);
        let Some(body) = came.get(HEADER..end) else {
            return Ok(None);
        };
        if self.descriptors.len() < count {
            return Err(TransportError::Descriptors(self.descriptors.len()));
        }
        let value = postcard::from_bytes(body)?;
        self.buffer.copy_within(end..self.filled, 0);
        self.filled = self.filled.saturating_sub(end);
        // A configuration of many megabytes shall not stay allocated for ever.
        if self.filled == 0 && self.buffer.len() > 16 * CHUNK {
            self.buffer = Vec::new();
        }
        Ok(Some((value, self.descriptors.drain(..count).collect())))
    }
}

async fn write(
    stream: &UnixStream,
    frame: &[u8],
    descriptors: &[OwnedFd],
) -> Result<(), TransportError> {
    let mut rest = frame;
    let mut borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    while !rest.is_empty() {
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                pass::send(stream.as_fd(), rest, &borrowed)
            })
            .await?;
        borrowed.clear();
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

fn to_tokio(stream: StdStream) -> io::Result<Rc<UnixStream>> {
    stream.set_nonblocking(true)?;
    Ok(Rc::new(UnixStream::from_std(stream)?))
}

/// The parent's end of a link to the process behind `stream`. The [`Remote`]'s `outbox` ends when that process closes
/// the link; dropping its `inbox` closes the link.
///
/// # Errors
/// The socket cannot be used with the event loop.
pub fn parent_end(stream: StdStream, peer: Peer) -> io::Result<Remote> {
    let stream = to_tokio(stream)?;
    let (inbox, mut queue) = mpsc::channel::<Incoming>(limits::LINK_QUEUE);
    let (arrived, outbox) = mpsc::channel(limits::LINK_QUEUE);
    let mut reader = FrameReader::new(Rc::clone(&stream));
    tokio::task::spawn_local(async move {
        loop {
            match reader.next::<(To, Message)>().await {
                Ok(Some(((to, message), descriptors))) => {
                    let outgoing = Outgoing {
                        to,
                        message,
                        descriptors,
                    };
                    if arrived.send(outgoing).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    // A child that is killed resets its socket; its end is reported anyway.
                    tracing::debug!("{} {}: {error}", peer.role.name(), peer.instance);
                    return;
                }
            }
        }
    });
    tokio::task::spawn_local(async move {
        while let Some(incoming) = queue.recv().await {
            let body = (incoming.from, &incoming.message);
            let result = match encode(&body, incoming.descriptors.len()) {
                Ok(frame) => write(&stream, &frame, &incoming.descriptors).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                tracing::debug!("{} {}: {error}", peer.role.name(), peer.instance);
                return;
            }
        }
        // Nothing more will be said: the child sees the end of its link.
        let _ = socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Write);
    });
    Ok(Remote { outbox, inbox })
}

/// The child's end of a link, until it is closed.
#[derive(Debug)]
pub struct ChildEnd {
    writer: JoinHandle<()>,
    closing: mpsc::Sender<()>,
}

impl ChildEnd {
    /// Waits at most `limit` until what is queued has been written.
    pub async fn finish(self, limit: Duration) {
        drop(self.closing);
        // The process ends now either way.
        let _ = tokio::time::timeout(limit, self.writer).await;
    }
}

/// The child's end of a link: what the role gets, and a handle to end it in good order. `observe` sees each message
/// that arrives before the role does.
///
/// # Errors
/// The socket cannot be used with the event loop.
pub fn child_end(
    stream: StdStream,
    me: Peer,
    observe: impl Fn(&Message) + 'static,
) -> io::Result<(Link, ChildEnd)> {
    let stream = to_tokio(stream)?;
    let (link, mut remote) = pair(me);
    let (closing, mut closed) = mpsc::channel::<()>(1);
    let (reading, mut unread) = mpsc::channel::<()>(1);
    let mut reader = FrameReader::new(Rc::clone(&stream));
    let inbox = remote.inbox;
    tokio::task::spawn_local(async move {
        // Its end tells the writer, and through it every sender, that the parent is gone.
        let _reading = reading;
        loop {
            match reader.next::<(Peer, Message)>().await {
                Ok(Some(((from, message), descriptors))) => {
                    observe(&message);
                    let incoming = Incoming {
                        from,
                        message,
                        descriptors,
                    };
                    if inbox.send(incoming).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!("{error}");
                    return;
                }
            }
        }
    });
    let writer = tokio::task::spawn_local(async move {
        loop {
            let outgoing = tokio::select! {
                biased;
                outgoing = remote.outbox.recv() => outgoing,
                _ = closed.recv() => None,
                _ = unread.recv() => None,
            };
            let Some(outgoing) = outgoing else { return };
            let body = (outgoing.to, &outgoing.message);
            let result = match encode(&body, outgoing.descriptors.len()) {
                Ok(frame) => write(&stream, &frame, &outgoing.descriptors).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                tracing::debug!("{error}");
                return;
            }
        }
    });
    Ok((link, ChildEnd { writer, closing }))
}

/// Reads the first message of a link before there is an event loop, and nothing beyond it.
///
/// # Errors
/// The parent is gone, or it is no parent of this version.
pub fn read_first(stream: &mut StdStream) -> Result<Message, TransportError> {
    stream.set_nonblocking(false)?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let (length, _) = decode_header(header)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let (_, message): (Peer, Message) = postcard::from_bytes(&body)?;
    Ok(message)
}

impl Sender {
    /// Returns once the other end is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

#[cfg(test)]
mod tests;
