//! How long a body is.
//! Owns every framing decision, and the judgement of bytes that follow a head.
//! Must never guess: what has two readings is refused.

use super::{Body, Head, Method, Parse, Refusal, Version};

/// Framing of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    #[default]
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks and trailers.
    Chunked,
    /// Until the connection ends (responses only).
    Close,
}

/// Value of Content-Length: digits and nothing else (RFC 9110 §8.6).
pub(super) fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::LENGTH_INVALID);
    }
    let mut length: u64 = 0;
    for digit in value {
        length = length
            .checked_mul(10)
            .and_then(|l| l.checked_add(u64::from(digit - b'0')))
            .filter(|l| *l <= i64::MAX as u64)
            .ok_or(Refusal::LENGTH_TOO_LARGE)?;
    }
    Ok(length)
}

/// Framing of a request (RFC 9112 §6.3; both lengths at once are refused, not repaired).
pub(super) fn request_framing(head: &Head) -> Result<Framing, Refusal> {
    if head.chunked {
        if head.content_length.is_some() {
            return Err(Refusal::MALFORMED_HEADER);
        }
        if head.version == Version::Http10 {
            return Err(Refusal::TRANSFER_ENCODING);
        }
    }
    if matches!(head.method, Method::Trace | Method::Connect)
        && (head.chunked || head.content_length.is_some())
    {
        return Err(Refusal::UNEXPECTED_BODY);
    }
    if head.method == Method::Connect {
        return Err(Refusal::CONNECT);
    }
    Ok(match (head.chunked, head.content_length) {
        (true, _) => Framing::Chunked,
        (false, None | Some(0)) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
    })
}

/// Framing of a response to a request with `method`.
///
/// # Errors
/// 502 where the server contradicts itself.
pub fn response_framing(head: &Head, method: Method) -> Result<Framing, Refusal> {
    if head.chunked && (head.content_length.is_some() || head.version == Version::Http10) {
        return Err(Refusal::BAD_GATEWAY);
    }
    let informational = head.status < 200;
    if informational || head.status == 204 {
        return match (head.chunked, head.content_length) {
            (false, None | Some(0)) => Ok(Framing::None),
            _ => Err(Refusal::BAD_GATEWAY),
        };
    }
    if method == Method::Head || head.status == 304 {
        return Ok(Framing::None);
    }
    Ok(match (head.chunked, head.content_length) {
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Close,
    })
}

/// Judges everything that follows a request in the same buffer, so that a request followed by garbage is not sent
/// at all (`log-lines` reference, order of events). `head` is a spare, `bytes` begin after the first request's head
/// and `body` is the state of that request's body.
///
/// # Errors
/// The refusal of the first malformed part. An unfinished last part is no error.
pub fn judge(head: &mut Head, mut body: Body, bytes: &[u8], limit: usize) -> Result<(), Refusal> {
    let mut rest = bytes;
    loop {
        let taken = body.advance(rest)?;
        rest = rest.get(taken..).unwrap_or_default();
        if rest.is_empty() || !body.is_done() {
            return Ok(());
        }
        if head.parse_request(rest, limit)? == Parse::Partial {
            return Ok(());
        }
        if head.websocket && head.connection_upgrade {
            return Ok(());
        }
        body = Body::new(head.framing, limit);
        rest = rest.get(head.len..).unwrap_or_default();
    }
}
