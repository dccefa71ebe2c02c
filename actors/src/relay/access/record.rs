//! What an access log will say of a request or session under way.
//! Owns the points in time and the texts that must outlive the request's head.
//! Must never exist for a relay without an access log: nobody else pays for it.

use super::super::context::Context;
use super::super::session::{From, Session};
use super::log_of;
use protocols::http::{Head, Version};
use protocols::log::access::{Http, Line, Times, shown_text, shown_url};
use protocols::log::session as words;
use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, since 1970.
pub fn wall_clock() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A request under way; its line is written when it is dropped.
#[derive(Debug)]
pub struct Record {
    context: Rc<Context>,
    session: Rc<Session>,
    number: u32,
    began: Instant,
    wall: Duration,
    texts: Texts,
    head_in: u64,
    head_out: u64,
    body_in: u64,
    body_out: u64,
    status: u16,
    request: Option<Instant>,
    connect: Option<Instant>,
    first: Option<Instant>,
    reason: Option<Cow<'static, str>>,
}

/// What of the request's head is shown.
#[derive(Debug, Default)]
struct Texts {
    method: String,
    target: String,
    version: &'static str,
    host: String,
    referer: String,
    agent: String,
    headers: Vec<(String, String)>,
}

impl Record {
    /// The record of request `number`, if the relay has an access log. Without a head it could not be read.
    pub fn begin(
        context: &Rc<Context>,
        session: &Rc<Session>,
        number: u32,
        head: Option<(&Head, &[u8])>,
    ) -> Option<Box<Record>> {
        let log = session.relay.config.access.as_ref()?;
        let texts = head.map(|(head, bytes)| Texts::of(head, bytes, log));
        Some(Box::new(Record {
            context: Rc::clone(context),
            session: Rc::clone(session),
            number,
            began: Instant::now(),
            wall: wall_clock(),
            texts: texts.unwrap_or_default(),
            head_in: head.map_or(0, |(head, _)| head.len as u64),
            head_out: 0,
            body_in: 0,
            body_out: 0,
            status: 0,
            request: None,
            connect: None,
            first: None,
            reason: None,
        }))
    }

    /// There is a connection to the server.
    pub fn connected(&mut self) {
        self.connect = Some(Instant::now());
    }

    /// All of the request was received.
    pub fn received(&mut self) {
        if self.request.is_none() {
            self.request = Some(Instant::now());
        }
    }

    /// The server said something.
    pub fn answered(&mut self) {
        if self.first.is_none() {
            self.first = Some(Instant::now());
        }
    }

    /// A response head came.
    pub fn response(&mut self, status: u16, length: usize) {
        self.status = status;
        self.head_out = length as u64;
    }

    /// Bytes of both bodies so far.
    pub fn bodies(&mut self, request: u64, response: u64) {
        self.body_in = request;
        self.body_out = response;
    }

    /// The session became a tunnel, through which so many bytes went.
    pub fn tunnelled(&mut self, from_client: u64, from_server: u64) {
        self.body_in = self.body_in.saturating_add(from_client);
        self.body_out = self.body_out.saturating_add(from_server);
    }

    /// How it ended; the status counts if there was none.
    pub fn end(mut self: Box<Self>, status: u16, reason: Cow<'static, str>) {
        if self.status == 0 {
            self.status = status;
        }
        self.reason = Some(reason);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let session = &self.session;
        let Some((log, outlet)) = log_of(&self.context, &session.relay) else {
            return;
        };
        let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(self.began));
        let texts = &self.texts;
        let http = Http {
            request: self.number,
            method: &texts.method,
            target: &texts.target,
            version: texts.version,
            host: &texts.host,
            referer: &texts.referer,
            agent: &texts.agent,
            headers: &texts.headers,
            status: self.status,
            body: self.body_out,
        };
        let host = session.host();
        outlet.line(
            log.form,
            &Line {
                session: session.name(&self.context),
                began: self.wall,
                relay: &session.relay.config.name,
                client: session.client,
                // The address of the request before is not this one's.
                server: self.connect.and(session.server()),
                host: host
                    .as_ref()
                    .filter(|_| self.connect.is_some())
                    .map(|h| h.names()),
                http: Some(http),
                bytes_in: self.head_in.saturating_add(self.body_in),
                bytes_out: self.head_out.saturating_add(self.body_out),
                times: Times {
                    request: since(self.request),
                    connect: since(self.connect),
                    first: since(self.first),
                    total: self.began.elapsed(),
                },
                tag: session.tag.borrow().as_deref(),
                label: session.label.borrow().as_deref(),
                reason: self
                    .reason
                    .as_deref()
                    .unwrap_or_else(|| session.killed.get().unwrap_or(words::ABORTED)),
            },
        );
    }
}

impl Texts {
    fn of(head: &Head, bytes: &[u8], log: &conf::model::AccessLog) -> Texts {
        let field = |name: &[u8]| {
            head.fields
                .iter()
                .find(|f| f.name.of(bytes).eq_ignore_ascii_case(name))
                .map(|f| f.value.of(bytes))
        };
        let headers = log.headers.iter().filter_map(|name| {
            let value = field(name.as_bytes())?;
            Some((name.clone(), shown_text(value)))
        });
        Texts {
            method: shown_text(head.method_name.of(bytes)),
            target: shown_url(head.target.of(bytes), log.query),
            version: match head.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
            },
            host: head.host(bytes).map(shown_text).unwrap_or_default(),
            referer: field(b"referer").map_or_else(String::new, |url| shown_url(url, log.query)),
            agent: field(b"user-agent").map(shown_text).unwrap_or_default(),
            headers: headers.collect(),
        }
    }
}

/// Writes the line of a session that carried no HTTP.
pub fn session(context: &Context, session: &Session, reason: &str) {
    let Some((log, outlet)) = log_of(context, &session.relay) else {
        return;
    };
    let Some(stamps) = &session.stamps else {
        return;
    };
    let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(stamps.began));
    let host = session.host();
    outlet.line(
        log.form,
        &Line {
            session: session.name(context),
            began: stamps.wall,
            relay: &session.relay.config.name,
            client: session.client,
            server: session.server(),
            host: host.as_ref().map(|h| h.names()),
            http: None,
            bytes_in: session.bytes(From::Client),
            bytes_out: session.bytes(From::Server),
            times: Times {
                request: None,
                connect: since(stamps.connect.get()),
                first: since(stamps.first.get()),
                total: stamps.began.elapsed(),
            },
            tag: session.tag.borrow().as_deref(),
            label: session.label.borrow().as_deref(),
            reason,
        },
    );
}
