//! imsg framing: a 16 byte header and a payload, at most 16384 bytes together.
//! Owns the cutting of a byte stream into frames and the building of frames.
//! Must never look into a payload, nor keep more than one frame's worth of unread bytes beyond what it was given.

use super::bytes::get_u32;
use conf::limits;
use thiserror::Error;

/// Bytes of the header: type, length, peer id, process id, each a `u32` in native byte order.
pub const HEADER_SIZE: usize = 16;
/// Bit of the length field that announces a descriptor; never used on this socket.
const DESCRIPTOR_MARK: u32 = 0x8000_0000;

/// One message as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Message number, see [`super::kind`].
    pub kind: u32,
    /// 0, or whatever the sender means by it.
    pub peer: u32,
    /// Process id of the sender.
    pub pid: u32,
    /// Content.
    pub payload: Vec<u8>,
}

/// The byte stream is not imsg; the connection is of no further use.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Shorter than its own header or longer than allowed.
    #[error("message length {0} is not between 16 and {max}", max = limits::CONTROL_MESSAGE_MAX)]
    Length(u32),
    /// A descriptor is announced.
    #[error("message with a descriptor")]
    Descriptor,
}

impl Frame {
    /// A frame with peer id 0.
    pub fn new(kind: u32, pid: u32, payload: Vec<u8>) -> Frame {
        Frame {
            kind,
            peer: 0,
            pid,
            payload,
        }
    }

    /// Total length with header.
    pub fn len(&self) -> usize {
        HEADER_SIZE + self.payload.len()
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// The payload is too long; nothing is written.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let length = u32::try_from(self.len()).unwrap_or(u32::MAX);
        if self.len() > limits::CONTROL_MESSAGE_MAX {
            return Err(FrameError::Length(length));
        }
        for field in [self.kind, length, self.peer, self.pid] {
            out.extend_from_slice(&field.to_ne_bytes());
        }
        out.extend_from_slice(&self.payload);
        Ok(())
    }

    /// The frame as bytes; a too long payload gives nothing.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        if self.write(&mut out).is_err() {
            out.clear();
        }
        out
    }
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// An empty one.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.buffer.drain(..self.read.min(self.buffer.len()));
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.buffer.len().saturating_sub(self.read)
    }

    /// The next complete frame.
    ///
    /// # Errors
    /// The stream is not imsg; every further call gives the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let waiting = self.buffer.get(self.read..).unwrap_or_default();
        if waiting.len() < HEADER_SIZE {
            return Ok(None);
        }
        let length = get_u32(waiting, 4);
        if length & DESCRIPTOR_MARK != 0 {
            return Err(FrameError::Descriptor);
        }
        let total = usize::try_from(length).unwrap_or(usize::MAX);
        if !(HEADER_SIZE..=limits::CONTROL_MESSAGE_MAX).contains(&total) {
            return Err(FrameError::Length(length));
        }
        let Some(payload) = waiting.get(HEADER_SIZE..total) else {
            return Ok(None);
        };
        let frame = Frame {
            kind: get_u32(waiting, 0),
            peer: get_u32(waiting, 8),
            pid: get_u32(waiting, 12),
            payload: payload.to_vec(),
        };
        self.read += total;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_is_that_of_the_original() {
        let frame = Frame::new(16, 77, vec![1, 2]);
        let mut wanted = Vec::new();
        for field in [16u32, 18, 0, 77] {
            wanted.extend_from_slice(&field.to_ne_bytes());
        }
        wanted.extend_from_slice(&[1, 2]);
        assert_eq!(frame.to_bytes(), wanted);
    }

    #[test]
    fn lengths_outside_the_bounds_are_refused() {
        for (length, error) in [
            (15, FrameError::Length(15)),
            (16385, FrameError::Length(16385)),
            (0x8000_0010, FrameError::Descriptor),
        ] {
            let mut decoder = Decoder::new();
            for field in [1u32, length, 0, 0] {
                decoder.push(&field.to_ne_bytes());
            }
            assert_eq!(decoder.next_frame(), Err(error));
        }
        let long = Frame::new(1, 0, vec![0; limits::CONTROL_MESSAGE_MAX]);
        assert!(long.write(&mut Vec::new()).is_err());
        assert!(long.to_bytes().is_empty());
    }

    proptest! {
        #[test]
        fn frames_survive_any_fragmentation(
            frames in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..300)), 1..8),
            cut in 1usize..64,
        ) {
            let frames: Vec<Frame> = frames
                .into_iter()
                .map(|(kind, peer, pid, payload)| Frame { kind, peer, pid, payload })
                .collect();
            let stream: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
            let mut decoder = Decoder::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert_eq!(decoder.pending(), 0);
        }

        #[test]
        fn garbage_never_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32)) {
            let mut decoder = Decoder::new();
            'all: for piece in pieces {
                decoder.push(&piece);
                loop {
                    match decoder.next_frame() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
            }
        }
    }
}
