//! The request's way to its server.
//! Owns judging a head, the choice of server and connection, and what is sent first.
//! Must never send a byte of a request before all that came with it was judged.

use super::super::access::Record;
use super::super::connect::{self, Choice};
use super::super::context::Context;
use super::super::counters::Count;
use super::super::relays::HostGuard;
use super::super::session::{From, Session};
use super::super::sockets;
use super::driver::{Driver, Next};
use super::exchange::{Exchange, Server};
use super::pace::Pace;
use super::way::Way;
use super::{Parts, Shared};
use conf::limits;
use conf::model::{Direction, HostId, Target};
use protocols::http::{Body, Head, Parse, Refusal, judge, wants_upgrade};
use protocols::log::id::RequestId;
use protocols::rules::{Ruleset, Subject, Verdict, Work};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::Context as Task;

impl Driver {
    /// Begins the exchange of the request at the start of `bytes`, if its head is complete.
    pub(super) fn begin(&mut self, cx: &mut Task<'_>, context: &Rc<Context>, bytes: &[u8]) -> Next {
        let mut parts = context.http.parts.borrow_mut();
        match self.try_begin(cx, context, &mut parts, bytes) {
            Ok(next) => next,
            Err(refusal) => Next::Refuse(refusal),
        }
    }

    fn try_begin(
        &mut self,
        cx: &mut Task<'_>,
        context: &Rc<Context>,
        parts: &mut Parts,
        bytes: &[u8],
    ) -> Result<Next, Refusal> {
        let session = Rc::clone(&self.session);
        let relay = &session.relay;
        let options = &relay.protocol.http;
        let limit = options.header_length as usize;
        let Parts {
            head,
            spare,
            work,
            out,
        } = parts;
        if head.parse_request(bytes, limit)? == Parse::Partial {
            return Ok(Next::Partial);
        }
        let (_, rest) = bytes.split_at_checked(head.len).unwrap_or((bytes, b""));
        let mut body = Body::new(head.framing, limit);
        let taken = body.advance(rest)?;
        let (payload, after) = rest.split_at_checked(taken).unwrap_or((rest, b""));
        if !after.is_empty() {
            judge(spare, body, after, limit)?;
        }
        let upgrade = wants_upgrade(head, options.websockets)?;
        context.http.count(|shared: &Shared| &shared.requests);
        let id = session.next_request(context);
        self.record = Record::begin(context, &session, id.number, Some((head, bytes)));
        let verdict = self.filter(head, bytes, work, session.client, session.server());
        self.log_request(head, bytes, work);
        if verdict? == Verdict::Block {
            return Err(Refusal::FORBIDDEN);
        }
        let drops_body = head.method.drops_body() && !options.forward_body;
        let mut exchange = Box::new(Exchange {
            method: head.method,
            version: head.version,
            client_keep: head.persistent(),
            server_keep: true,
            expects: head.expect_continue,
            upgrade,
            drops_body,
            broken: false,
            watched: false,
            logged: std::mem::take(&mut self.logged),
            up: Way::new(From::Client),
            down: Way::new(From::Server),
            head: Vec::new(),
            interim: 0,
            pace: Pace::default(),
            answered: false,
            again: None,
            choice: Choice::new(&session),
            place: None,
            server: None,
        });
        exchange.up.body = body;
        exchange.up.total = taken as u64;
        exchange.choice.wanted = self.take_cookie(head, bytes, work);
        self.without_body(&mut exchange, head, bytes, work);
        if !upgrade {
            exchange.server_keep = work.edits.settle(head, bytes, true);
        }
        self.kept = after.to_vec();
        let payload = if drops_body { &[] } else { payload };
        let wire = if work.edits.needed(head) {
            out.clear();
            work.edits.render(head, bytes, out);
            out.extend_from_slice(payload);
            out.as_slice()
        } else {
            bytes.get(..head.len + payload.len()).unwrap_or_default()
        };
        let forward = work.forward.and_then(|id| {
            let tables = relay.http.as_ref()?.rules.tables();
            relay.table_named(tables.get(usize::from(id).checked_sub(1)?)?)
        });
        exchange.choice.hash.feed(&work.hash);
        exchange.choice.table = forward;
        self.assign(cx, context, &mut exchange, wire);
        self.exchange = Some(exchange);
        Ok(Next::Exchange)
    }

    /// Takes away what announces a body that is not passed on.
    fn without_body(&self, exchange: &mut Exchange, head: &Head, bytes: &[u8], work: &mut Work) {
        if !exchange.drops_body || (head.content_length.is_none() && !head.chunked) {
            return;
        }
        for name in [&b"Content-Length"[..], b"Transfer-Encoding", b"Expect"] {
            work.edits.remove(head, bytes, name);
        }
        if head.expect_continue && !exchange.up.body.is_done() {
            exchange.down.keep(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        exchange.expects = false;
    }

    /// Gives the exchange a connection that is open already, if there is one, and sends the request on it.
    fn assign(
        &mut self,
        cx: &mut Task<'_>,
        context: &Rc<Context>,
        exchange: &mut Exchange,
        wire: &[u8],
    ) {
        self.choose(context, exchange);
        if let Some(mut server) = self.open_connection(context, exchange) {
            let sent = exchange.up.send(cx, &mut server.stream, wire);
            if sent.is_ok() {
                if exchange.method.idempotent() && exchange.up.body.is_done() {
                    exchange.again = Some(wire.to_vec());
                }
                exchange.server = Some(server);
                if let Some(record) = &mut self.record {
                    record.connected();
                }
                return;
            }
            exchange.up.clear();
        }
        exchange.up.keep(wire);
    }

    /// Keeps the session's host, unless a rule chose another table or the host is out of use or full.
    fn choose(&mut self, context: &Context, exchange: &mut Exchange) {
        let (table, wanted) = (exchange.choice.table, exchange.choice.wanted);
        if let Some(chosen) = self.chosen.as_ref().filter(|chosen| chosen.0 == table) {
            let Some(host) = &chosen.1.host else {
                return;
            };
            let open = self.server.is_some();
            let other = wanted.is_some_and(|id| id != host.parts.id && self.serves(id));
            if host.serves() && !other {
                exchange.place = match open {
                    true => None,
                    false => HostGuard::claim_in_turn(host),
                };
                if open || exchange.place.is_some() {
                    return;
                }
            }
        }
        if matches!(
            self.session.relay.config.target,
            Target::Destination(_) | Target::NatLookup(_)
        ) {
            return;
        }
        self.server = None;
        let pick = connect::choose(context, &self.session.relay, &exchange.choice, &[]).ok();
        self.chosen = pick.map(|pick| {
            exchange.place = pick.guard;
            Box::new((table, pick.chosen))
        });
    }

    /// Whether a host of this relay takes new connections.
    fn serves(&self, id: HostId) -> bool {
        let mut tables = self.session.relay.tables.iter();
        tables.any(|used| used.table.host(id).is_some_and(|host| host.serves()))
    }

    /// The host that the client's cookie names, if it does. The cookie is between the client and us: it goes no further.
    fn take_cookie(&self, head: &Head, bytes: &[u8], work: &mut Work) -> Option<HostId> {
        let mut wanted = None;
        for used in &self.session.relay.tables {
            let Some(sticky) = &used.sticky else {
                continue;
            };
            let cookies = head.fields.iter().filter(|field| {
                let name = field.name.of(bytes);
                name.eq_ignore_ascii_case(b"Cookie")
            });
            let mut hosts = cookies.filter_map(|field| sticky.find(field.value.of(bytes)));
            let named = hosts.next().and_then(|index| used.table.hosts.get(index));
            if let Some(host) = named
                && (wanted.is_none() || (host.serves() && !wanted.is_some_and(|w| self.serves(w))))
            {
                wanted = Some(host.parts.id);
            }
            let strip = |value: &[u8]| sticky.strip(value);
            work.edits.rewrite(head, bytes, b"Cookie", strip);
        }
        wanted
    }

    /// The value of a field that makes the client come back to the exchange's host; `None` if it does already, or is
    /// only here because its own host is full.
    pub(super) fn give_cookie(&self, exchange: &Exchange) -> Option<String> {
        let relay = &self.session.relay;
        let host = exchange.server.as_ref()?.guard.as_ref()?.host().parts.id;
        let wanted = exchange.choice.wanted;
        if wanted == Some(host) {
            return None;
        }
        let used = relay.tables.iter().enumerate().find(|(index, used)| {
            let asked = exchange.choice.table.is_none_or(|table| table == *index);
            asked && used.table.host(host).is_some()
        });
        let (_, used) = used?;
        let full = wanted.and_then(|id| used.table.host(id));
        if full.is_some_and(|host| host.serves()) {
            return None;
        }
        let index = used.table.hosts.iter().position(|h| h.parts.id == host)?;
        used.sticky.as_ref()?.set(index, relay.config.listen.tls)
    }

    /// An open connection to the chosen host.
    fn open_connection(
        &mut self,
        context: &Rc<Context>,
        exchange: &mut Exchange,
    ) -> Option<Server> {
        if let Some(server) = self.server.take() {
            return (!server.stale()).then_some(*server);
        }
        if !self.pools() {
            return None;
        }
        let chosen = &self.chosen.as_ref()?.1;
        let address = sockets::translate(self.session.relay.config.translate, chosen.address)?;
        let stream = context.http.pool.take(address)?;
        context.http.count(|shared: &Shared| &shared.pooled);
        self.session.set_server(address, chosen.host.clone());
        Some(Server {
            stream,
            guard: exchange.place.take(),
            address,
        })
    }

    /// Evaluates the rules of a message; tag and label go to the session's record.
    pub(super) fn filter(
        &mut self,
        head: &Head,
        bytes: &[u8],
        work: &mut Work,
        peer: SocketAddr,
        other: Option<SocketAddr>,
    ) -> Result<Verdict, Refusal> {
        let session = Rc::clone(&self.session);
        let direction = if head.is_response() {
            Direction::Response
        } else {
            Direction::Request
        };
        let Some(rules) = session
            .relay
            .http
            .as_ref()
            .map(|http| &http.rules)
            .filter(|rules| !rules.is_empty(direction))
        else {
            work.clear();
            return Ok(Verdict::Pass);
        };
        let local = *self.local.get_or_insert_with(|| local(&self.client));
        let listen = &session.relay.config.listen;
        let mut subject = Subject::new(
            head,
            bytes,
            peer,
            other.map(|o| o.ip()),
            local,
            listen.address.with_port(listen.port),
            session.relay.config.session_timeout.as_secs(),
        );
        subject.request = Some(RequestId {
            session: session.name(&self.context),
            number: session.requests.get(),
        });
        work.wants_log = session.relay.log.connection;
        let before = self.memory;
        let verdict = rules.evaluate(&subject, &mut self.memory, work);
        if before != self.memory {
            remember(&session, rules, self.memory);
        }
        verdict
    }

    fn log_request(&mut self, head: &Head, bytes: &[u8], work: &Work) {
        if !self.session.relay.log.connection {
            return;
        }
        let mut log = self.session.log.borrow_mut();
        if !fits(&mut log, &self.context.counters.log_full) {
            return;
        }
        self.logged = !work.log.is_empty();
        log.push_str(&work.log);
        log.push(' ');
        log.push_str(&String::from_utf8_lossy(head.method_name.of(bytes)));
    }

    /// Items of a response, and the end of the exchange.
    pub(super) fn log_response(&mut self, exchange: &mut Exchange, work: &Work) {
        if !self.session.relay.log.connection {
            return;
        }
        let mut log = self.session.log.borrow_mut();
        if !fits(&mut log, &self.context.counters.log_full) {
            return;
        }
        self.marks |= !work.log.is_empty();
        log.push_str(&work.log);
        if exchange.logged || self.marks {
            log.push(';');
        }
    }
}

/// Whether more items may be added; says once that some are missing.
fn fits(log: &mut String, full: &Count) -> bool {
    const MORE: &str = " ...";
    if log.len() < limits::SESSION_LOG_MAX {
        return true;
    }
    if !log.ends_with(MORE) {
        log.push_str(MORE);
        full.up();
    }
    false
}

fn remember(session: &Session, rules: &Ruleset, memory: protocols::rules::Memory) {
    session.tag.replace(rules.tag(memory.tag).map(Rc::from));
    session.tag_number.set(memory.tag);
    session
        .label
        .replace(rules.label(memory.label).map(Rc::from));
}

fn local(client: &super::super::stream::Stream) -> IpAddr {
    client
        .local_addr()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip())
}
