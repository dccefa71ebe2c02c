//! Request and response heads.
//! Owns the strict reading of a head into spans of the caller's buffer; httparse finds the lines, the checks are ours.
//! Must never accept a head that another reader could frame differently.

use super::{Framing, Known, Method, Refusal, framing, url};
use conf::limits;
use httparse::{Header, Status};
use std::mem::MaybeUninit;

/// A part of the buffer the head was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes; empty if the span is not of this buffer.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    pub(crate) fn within(base: usize, part: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).saturating_sub(base) as u32;
        Span {
            start,
            end: start + part.len() as u32,
        }
    }
}

/// A header field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name as spelled.
    pub name: Span,
    /// Value without blanks around it.
    pub value: Span,
    /// Which one it is.
    pub known: Known,
}

/// Protocol version; passed through unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// Result of looking at a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The head is not complete.
    Partial,
    /// The head is complete and takes [`Head::len`] bytes.
    Complete,
}

/// A parsed head; refers to the buffer by spans, so one `Head` serves all messages of a process without allocating.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Method name (requests).
    pub method_name: Span,
    /// Method class (requests).
    pub method: Method,
    /// Request target as received (requests).
    pub target: Span,
    /// Status code (responses); 0 in requests.
    pub status: u16,
    /// Version.
    pub version: Version,
    /// Fields in the order received.
    pub fields: Vec<Field>,
    /// Bytes of the head with its empty line.
    pub len: usize,
    /// Lines end in bare LF: the head is written anew with CRLF.
    pub lf: bool,
    /// Index of Host.
    pub host: Option<usize>,
    /// Content-Length.
    pub content_length: Option<u64>,
    /// `Transfer-Encoding: chunked`
    pub chunked: bool,
    /// `Connection: close`
    pub close: bool,
    /// `Connection: keep-alive`
    pub keep_alive: bool,
    /// `Connection: upgrade`
    pub connection_upgrade: bool,
    /// Connection names something else, which must stay.
    pub connection_other: bool,
    /// `Upgrade: websocket`
    pub websocket: bool,
    /// `Expect: 100-continue`
    pub expect_continue: bool,
    /// Framing of a request; of a response see [`super::response_framing`].
    pub framing: Framing,
}

impl Head {
    /// Reads a request head at the start of `bytes`. `limit` is `headerlen`.
    ///
    /// # Errors
    /// The refusal to answer with; nothing of the request may be passed on.
    pub fn parse_request(&mut self, bytes: &[u8], limit: usize) -> Result<Parse, Refusal> {
        self.clear();
        if matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return Err(Refusal::NO_METHOD);
        }
        let mut fields = [const { MaybeUninit::uninit() }; limits::HTTP_FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut fields) {
            Err(error) => return Err(request_error(error, bytes)),
            Ok(Status::Partial) => {
                return check_length(bytes, limit).map(|()| Parse::Partial);
            }
            Ok(Status::Complete(len)) => self.len = len,
        }
        let base = bytes.as_ptr() as usize;
        let (method, target) = (
            request.method.unwrap_or_default().as_bytes(),
            request.path.unwrap_or_default().as_bytes(),
        );
        self.method_name = Span::within(base, method);
        self.method = Method::of(method);
        self.target = Span::within(base, target);
        self.version = version(request.version);
        if target.len() > limits::HTTP_TARGET_MAX {
            return Err(Refusal::TARGET_TOO_LONG);
        }
        self.take_fields(bytes, request.headers, Refusal::MALFORMED)?;
        self.check_lines(bytes, limit, Refusal::MALFORMED)?;
        url::check_target(self, bytes)?;
        self.framing = framing::request_framing(self)?;
        Ok(Parse::Complete)
    }

    /// Reads a response head at the start of `bytes`. `limit` is `headerlen`.
    ///
    /// # Errors
    /// The refusal to answer the client with.
    pub fn parse_response(&mut self, bytes: &[u8], limit: usize) -> Result<Parse, Refusal> {
        self.clear();
        if matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return Err(Refusal::BAD_GATEWAY);
        }
        let mut fields = [const { MaybeUninit::uninit() }; limits::HTTP_FIELDS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields) {
            Err(error) => return Err(response_error(error)),
            Ok(Status::Partial) => {
                return check_length(bytes, limit)
                    .map(|()| Parse::Partial)
                    .map_err(of_server);
            }
            Ok(Status::Complete(len)) => self.len = len,
        }
        self.status = response.code.unwrap_or_default();
        self.version = version(response.version);
        if !(100..=599).contains(&self.status) {
            return Err(Refusal::STATUS_LINE);
        }
        self.take_fields(bytes, response.headers, Refusal::BAD_GATEWAY)?;
        self.check_lines(bytes, limit, Refusal::BAD_GATEWAY)
            .map_err(of_server)?;
        Ok(Parse::Complete)
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        self.status != 0
    }

    /// First field of a name, whatever its case.
    pub fn find(&self, bytes: &[u8], name: &[u8]) -> Option<&Field> {
        self.fields
            .iter()
            .find(|field| field.name.of(bytes).eq_ignore_ascii_case(name))
    }

    /// The Host field's value.
    pub fn host<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.host
            .and_then(|index| self.fields.get(index))
            .map(|field| field.value.of(bytes))
    }

    /// Whether the sender of this message goes on after it, as far as it says.
    pub fn persistent(&self) -> bool {
        match self.version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }

    fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Head {
            fields,
            ..Head::default()
        };
    }

    fn take_fields(
        &mut self,
        bytes: &[u8],
        fields: &[Header<'_>],
        malformed: Refusal,
    ) -> Result<(), Refusal> {
        let base = bytes.as_ptr() as usize;
        for field in fields {
            let known = Known::of(field.name.as_bytes());
            if known != Known::Other {
                self.note(known, field.value, malformed)?;
            }
            self.fields.push(Field {
                name: Span::within(base, field.name.as_bytes()),
                value: Span::within(base, field.value),
                known,
            });
        }
        Ok(())
    }

    fn note(&mut self, known: Known, value: &[u8], malformed: Refusal) -> Result<(), Refusal> {
        let response = self.is_response();
        let or_gateway = |refusal| if response { malformed } else { refusal };
        match known {
            Known::Host => {
                if self.host.is_some() && !response {
                    return Err(Refusal::MALFORMED_HEADER);
                }
                self.host = Some(self.fields.len());
            }
            Known::ContentLength => {
                if self.content_length.is_some() {
                    return Err(or_gateway(Refusal::MALFORMED_HEADER));
                }
                self.content_length = Some(framing::length(value).map_err(or_gateway)?);
            }
            Known::TransferEncoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(or_gateway(Refusal::TRANSFER_ENCODING));
                }
                self.chunked = true;
            }
            Known::Connection => self.note_connection(value),
            Known::Upgrade => {
                self.websocket |= tokens(value).any(|t| t.eq_ignore_ascii_case(b"websocket"));
            }
            Known::Expect => {
                self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            Known::Cookie | Known::SetCookie | Known::Other => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.connection_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                self.connection_other = true;
            }
        }
    }

    /// All lines end alike: a reader that knows only CRLF, or both, sees the same lines. Counts their length too.
    fn check_lines(
        &mut self,
        bytes: &[u8],
        limit: usize,
        malformed: Refusal,
    ) -> Result<(), Refusal> {
        let head = bytes.get(..self.len).unwrap_or_default();
        let crlf_at = |end: usize| end >= 2 && head.get(end - 2) == Some(&b'\r');
        let crlf = crlf_at(self.len);
        let blank = self.len - if crlf { 2 } else { 1 };
        let starts = self.fields.iter().map(|field| field.name.start as usize);
        for start in starts.chain(std::iter::once(blank)) {
            if crlf_at(start) != crlf {
                return Err(malformed);
            }
        }
        self.lf = !crlf;
        let ends = (self.fields.len() + 2) * if crlf { 2 } else { 1 };
        if self.len.saturating_sub(ends) > limit {
            return Err(Refusal::HEAD_TOO_LARGE);
        }
        Ok(())
    }
}

/// The parts of a comma list, without blanks around them; empty ones are left out.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn version(minor: Option<u8>) -> Version {
    match minor {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    }
}

/// An unfinished head may be no longer than a finished one.
fn check_length(bytes: &[u8], limit: usize) -> Result<(), Refusal> {
    if bytes.len() <= limit {
        return Ok(());
    }
    let ends: usize = memchr::memchr_iter(b'\n', bytes)
        .map(|at| {
            let cr = at.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'\r');
            1 + usize::from(cr)
        })
        .sum();
    if bytes.len().saturating_sub(ends) > limit {
        return Err(Refusal::HEAD_TOO_LARGE);
    }
    Ok(())
}

fn request_error(error: httparse::Error, bytes: &[u8]) -> Refusal {
    if error == httparse::Error::TooManyHeaders {
        return Refusal::HEAD_TOO_LARGE;
    }
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, last) = (words.next(), words.next(), words.next());
    let plain = |word: Option<&[u8]>| {
        word.is_some_and(|w| !w.is_empty() && w.iter().all(|byte| (0x21..0x7f).contains(byte)))
    };
    match (plain(method) && plain(target), last) {
        (true, None) if line.len() < bytes.len() => Refusal::NO_VERSION,
        (true, Some(version))
            if error == httparse::Error::Version
                && words.next().is_none()
                && version.starts_with(b"HTTP/") =>
        {
            Refusal::VERSION
        }
        _ => Refusal::MALFORMED,
    }
}

/// The same with the server as culprit.
fn of_server(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::HEAD_TOO_LARGE => Refusal::RESPONSE_TOO_LARGE,
        other => other,
    }
}

fn response_error(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::Status | httparse::Error::Version => Refusal::STATUS_LINE,
        httparse::Error::TooManyHeaders => Refusal::RESPONSE_TOO_LARGE,
        _ => Refusal::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests;
