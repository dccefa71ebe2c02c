//! Where a body ends.
//! Owns the position within a body of any framing; looks at bytes where they lie and passes them on unchanged.
//! Must never copy or hold payload, and never accept a chunk line with two readings.

use super::{Framing, Refusal};
use conf::limits;

/// Position within a body.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    state: State,
    /// Bytes of payload that remain: of the body or of the chunk.
    remaining: u64,
    /// Bytes of the current line, or of all trailers.
    line: u32,
    /// Longest total of trailers.
    limit: u32,
    /// Running hash of a trailer's name.
    name: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    Length,
    Close,
    Size,
    Extension,
    ExtensionCr,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerCr,
    EndLf,
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

const fn hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte.to_ascii_lowercase() as u64).wrapping_mul(0x0100_0000_01b3)
}

const fn hash(name: &str) -> u64 {
    let (bytes, mut at, mut value) = (name.as_bytes(), 0, HASH_START);
    while let Some((byte, _)) = split(bytes, at) {
        value = hash_step(value, byte);
        at += 1;
    }
    value
}

const fn split(bytes: &[u8], at: usize) -> Option<(u8, ())> {
    match bytes.split_at_checked(at) {
        Some((_, [byte, ..])) => Some((*byte, ())),
        _ => None,
    }
}

/// Trailers that would change how somebody reads the message.
const FORBIDDEN: [u64; 4] = [
    hash("content-length"),
    hash("transfer-encoding"),
    hash("host"),
    hash("connection"),
];

impl Body {
    /// The start of a body; `limit` bounds the trailers.
    pub fn new(framing: Framing, limit: usize) -> Body {
        let (state, remaining) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0),
            Framing::Length(length) => (State::Length, length),
            Framing::Chunked => (State::Size, 0),
            Framing::Close => (State::Close, 0),
        };
        Body {
            state,
            remaining,
            line: 0,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            name: HASH_START,
        }
    }

    /// Nothing more belongs to the body.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The body ends with the connection.
    pub fn until_close(&self) -> bool {
        self.state == State::Close
    }

    /// Payload bytes that certainly follow and need no look: they may be spliced.
    pub fn opaque(&self) -> u64 {
        match self.state {
            State::Length | State::Data => self.remaining,
            State::Close => u64::MAX,
            _ => 0,
        }
    }

    /// Notes that `count` of the [`Body::opaque`] bytes went by unseen.
    pub fn skip(&mut self, count: u64) {
        if self.state == State::Close {
            return;
        }
        self.remaining = self.remaining.saturating_sub(count);
        if self.remaining == 0 {
            self.payload_end();
        }
    }

    /// Looks at the next bytes; returns how many of them belong to the body.
    ///
    /// # Errors
    /// A chunk line or trailer that another reader could understand differently.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..)
            && let Some(byte) = rest.first()
        {
            match self.state {
                State::Done => break,
                State::Close => return Ok(bytes.len()),
                State::Length | State::Data => {
                    let part = self.remaining.min(rest.len() as u64);
                    taken += part as usize;
                    self.skip(part);
                }
                _ => {
                    self.step(*byte)?;
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }

    fn payload_end(&mut self) {
        match self.state {
            State::Length => self.state = State::Done,
            State::Data => self.state = State::DataCr,
            _ => {}
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        match self.state {
            State::Size | State::Extension | State::ExtensionCr => self.size_line(byte),
            State::DataCr => self.expect(byte, b'\r', State::DataLf),
            State::DataLf => {
                self.line = 0;
                self.expect(byte, b'\n', State::Size)
            }
            State::EndLf => match byte {
                b'\n' => {
                    self.state = State::Done;
                    Ok(())
                }
                _ => Err(Refusal::TRAILER),
            },
            _ => self.trailer(byte),
        }
    }

    fn expect(&mut self, byte: u8, wanted: u8, next: State) -> Result<(), Refusal> {
        if byte != wanted {
            return Err(Refusal::CHUNK_SIZE);
        }
        self.state = next;
        Ok(())
    }

    fn size_line(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.state == State::ExtensionCr {
            return match byte {
                b'\n' => {
                    self.size_end();
                    Ok(())
                }
                _ => Err(Refusal::CHUNK_SIZE),
            };
        }
        self.line += 1;
        if self.line as usize > limits::HTTP_CHUNK_LINE_MAX {
            return Err(Refusal::CHUNK_SIZE_LONG);
        }
        match (self.state, byte) {
            (State::Size, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                if self.remaining > (i64::MAX as u64) >> 4 || self.line > 16 {
                    return Err(Refusal::CHUNK_SIZE_LONG);
                }
                self.remaining = self.remaining << 4 | u64::from(digit);
            }
            (State::Size, b'\r') if self.line > 1 => self.state = State::ExtensionCr,
            (State::Size, b';') if self.line > 1 => self.state = State::Extension,
            (State::Extension, b'\r') => self.state = State::ExtensionCr,
            (State::Extension, b'\t' | 0x20..=0x7e | 0x80..) => {}
            _ => return Err(Refusal::CHUNK_SIZE),
        }
        Ok(())
    }

    fn size_end(&mut self) {
        self.line = 0;
        self.state = if self.remaining == 0 {
            State::TrailerStart
        } else {
            State::Data
        };
    }

    fn trailer(&mut self, byte: u8) -> Result<(), Refusal> {
        self.line += 1;
        if self.line > self.limit {
            return Err(Refusal::HEAD_TOO_LARGE);
        }
        self.state = match (self.state, byte) {
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, _) if is_token(byte) => {
                self.name = hash_step(HASH_START, byte);
                State::TrailerName
            }
            (State::TrailerName, b':') if !FORBIDDEN.contains(&self.name) => State::TrailerValue,
            (State::TrailerName, _) if is_token(byte) => {
                self.name = hash_step(self.name, byte);
                State::TrailerName
            }
            (State::TrailerValue, b'\r') => State::TrailerCr,
            (State::TrailerValue, b'\t' | 0x20..=0x7e | 0x80..) => State::TrailerValue,
            (State::TrailerCr, b'\n') => State::TrailerStart,
            _ => return Err(Refusal::TRAILER),
        };
        Ok(())
    }
}

/// Bytes of a field name (RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut body = Body::new(Framing::Chunked, 8192);
        body.advance(bytes).map(|n| (n, body.is_done()))
    }

    #[test]
    fn chunks_end_at_the_trailers_empty_line() {
        let wire = b"5\r\nhello\r\n00A;name=\"v\";x\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET";
        assert_eq!(whole(wire), Ok((wire.len() - 3, true)));
        assert_eq!(whole(b"0\r\n\r\n"), Ok((5, true)));
        assert_eq!(whole(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn chunk_size_tricks_are_refused() {
        for wire in [
            &b"+5\r\n"[..],
            b"-5\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5 \r\n",
            b"5\n",
            b"\r\n",
            b";x\r\n",
            b"g\r\n",
            b"5\r\r\n",
            b"5;a\nb\r\n",
            b"5;\0\r\n",
            b"5\r\nhelloX",
            b"5\r\nhello\n",
            b"5\r\nhello\rX",
            b"5,5\r\n",
        ] {
            assert_eq!(
                whole(wire),
                Err(Refusal::CHUNK_SIZE),
                "{:?}",
                String::from_utf8_lossy(wire)
            );
        }
        assert_eq!(
            whole(b"8000000000000000\r\n"),
            Err(Refusal::CHUNK_SIZE_LONG)
        );
        assert_eq!(
            whole(b"00000000000000001\r\n"),
            Err(Refusal::CHUNK_SIZE_LONG)
        );
        let mut long = b"5;".to_vec();
        long.resize(5000, b'x');
        assert_eq!(whole(&long), Err(Refusal::CHUNK_SIZE_LONG));
    }

    #[test]
    fn trailers_may_not_reframe() {
        for wire in [
            &b"0\r\nContent-Length: 4\r\n\r\n"[..],
            b"0\r\nhost: a\r\n\r\n",
            b"0\r\nTransfer-encoding: x\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA: \0\r\n\r\n",
            b"0\r\n\rX",
            b"0\r\nnocolon\r\n\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(
                whole(wire),
                Err(Refusal::TRAILER),
                "{:?}",
                String::from_utf8_lossy(wire)
            );
        }
        let mut flood = b"0\r\n".to_vec();
        flood.extend(b"a: b\r\n".repeat(3000));
        assert_eq!(whole(&flood), Err(Refusal::HEAD_TOO_LARGE));
    }

    #[test]
    fn opaque_bytes_may_be_skipped() {
        let mut body = Body::new(Framing::Chunked, 100);
        assert_eq!(body.opaque(), 0);
        body.advance(b"10\r\n").unwrap();
        assert_eq!(body.opaque(), 16);
        body.skip(16);
        assert_eq!(body.advance(b"\r\n0\r\n\r\n"), Ok(7));
        assert!(body.is_done());
        let mut body = Body::new(Framing::Length(3), 100);
        body.skip(3);
        assert!(body.is_done());
        assert!(!Body::new(Framing::Close, 100).is_done());
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_result(wire in "[0-9a-f;\r\nxX: ]{0,60}", cuts in proptest::collection::vec(1usize..6, 0..60)) {
            let bytes = wire.as_bytes();
            let mut body = Body::new(Framing::Chunked, 64);
            let mut at = 0usize;
            let mut outcome = Ok(());
            for cut in cuts.into_iter().chain(std::iter::once(usize::MAX)) {
                let end = at.saturating_add(cut).min(bytes.len());
                match body.advance(&bytes[at..end]) {
                    Ok(n) => { at += n; if body.is_done() { break } }
                    Err(e) => { outcome = Err(e); break }
                }
            }
            let mut once = Body::new(Framing::Chunked, 64);
            match once.advance(bytes) {
                Ok(n) => { prop_assert_eq!(outcome, Ok(())); prop_assert_eq!(n, at); prop_assert_eq!(once.is_done(), body.is_done()); }
                Err(e) => prop_assert_eq!(outcome, Err(e)),
            }
        }

        #[test]
        fn generated_chunks_are_framed_exactly(sizes in proptest::collection::vec(1usize..300, 0..10), tail in "[A-Z]{0,8}") {
            let mut wire = Vec::new();
            for size in sizes {
                wire.extend(format!("{size:X}\r\n").into_bytes());
                wire.extend(vec![b'\n'; size]);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
            let len = wire.len();
            wire.extend(tail.bytes());
            prop_assert_eq!(whole(&wire), Ok((len, true)));
        }
    }
}
