//! `relay "name" { … }`
//! Owns the options of a relay and the checks between them.
//! Must never open a socket; further listeners become relays of their own, as in the original.

use super::reference::Reference;
use super::{Parsed, Parser};
use crate::diagnostic::Diagnostic;
use crate::lexer::Token;
use crate::limits;
use crate::model::{
    AccessLog, Address, Cookie, HashKey, Listen, Mode, ProtocolId, ProtocolKind, ProxyVersion,
    Relay, RelayId, RelayTable, TableId, Target, Translate,
};
use crate::source::Span;
use std::net::IpAddr;
use std::time::Duration;

/// `forward to <table> …`
struct RelayReference {
    table: TableId,
    mode: Option<Mode>,
    cookie: Option<Cookie>,
    span: Span,
}

/// A relay while its lines are read.
pub(super) struct Draft {
    name: String,
    listeners: Vec<(Listen, Span)>,
    disabled: bool,
    protocol: Option<ProtocolId>,
    tables: Vec<RelayReference>,
    keys: Vec<Option<HashKey>>,
    pub(super) fixed: Option<(Address, u16)>,
    /// Mode of tables that give none.
    mode: Mode,
    nat_lookup: bool,
    destination: bool,
    retry: u32,
    transparent: bool,
    tls_client: bool,
    translate: Option<Translate>,
    proxy_protocol: Option<ProxyVersion>,
    session_timeout: Duration,
    access: Option<AccessLog>,
}

impl Parser<'_> {
    pub(super) fn relay(&mut self) -> Parsed<()> {
        self.next();
        self.begun += 1;
        let (name, span) = self.name(
            "the relay's name",
            limits::RELAY_NAME_MAX,
            "relay name truncated",
        )?;
        let mut draft = Draft {
            name: name.clone(),
            listeners: Vec::new(),
            disabled: false,
            protocol: None,
            tables: Vec::new(),
            keys: Vec::new(),
            fixed: None,
            mode: Mode::default(),
            nat_lookup: false,
            destination: false,
            retry: 0,
            transparent: false,
            tls_client: false,
            translate: None,
            proxy_protocol: None,
            session_timeout: limits::SESSION_TIMEOUT_DEFAULT,
            access: None,
        };
        let good = self.block(|p| p.relay_line(&mut draft))?;
        let close = self.close;
        let message = format!("relay {name} or listener defined twice");
        if self
            .unique_at("relay", &name, span, close, &message)
            .is_err()
            || !good
        {
            return Ok(());
        }
        self.finish_relay(draft, close)
    }

    fn relay_line(&mut self, draft: &mut Draft) -> Parsed<()> {
        let lexeme = self.next();
        match &lexeme.token {
            Token::Keyword("listen") => self.relay_listen(draft)?,
            Token::Keyword("transparent") => {
                self.expect("forward")?;
                self.relay_forward(draft, true)?;
            }
            Token::Keyword("forward") if matches!(self.peek().token, Token::Keyword("timeout")) => {
                self.next();
                // 4.3 is the only release with this line, and its mode was loadbalance.
                draft.session_timeout = self.old_relay_timeout(lexeme.span)?;
                draft.mode = Mode::LoadBalance;
            }
            Token::Keyword("timeout") => {
                draft.session_timeout = self.old_relay_timeout(lexeme.span)?;
            }
            Token::Keyword("table") => self.old_relay_table(draft, lexeme.span)?,
            Token::Keyword("nat") => {
                self.expect("lookup")?;
                draft.nat_lookup = true;
                self.ancient(lexeme.span, "nat lookup", "forward to nat lookup");
                self.relay_retry(draft)?;
            }
            Token::Word(w) if w == "service" => self.old_relay_service(draft, lexeme.span)?,
            Token::Keyword("forward") => self.relay_forward(draft, false)?,
            Token::Keyword("route") => {
                return self.error(
                    lexeme.span,
                    "no route for relays",
                    "'route to' is an option of redirects",
                );
            }
            Token::Keyword("protocol") => self.relay_protocol(draft)?,
            Token::Keyword("session") => draft.session_timeout = self.session_timeout()?,
            Token::Keyword("log") => draft.access = Some(self.access_log()?),
            Token::Keyword("disable") => draft.disabled = true,
            _ => {
                return self.unexpected(
                    &lexeme,
                    "an option of a relay: listen, forward, protocol, session timeout, log access, disable",
                );
            }
        }
        self.end_of_line()
    }

    fn relay_protocol(&mut self, draft: &mut Draft) -> Parsed<()> {
        let span = self.peek().span;
        let name = self.string("the protocol's name")?;
        if draft.protocol.is_some() {
            return self.error(
                span,
                "more than one protocol specified",
                "a relay speaks one protocol",
            );
        }
        let id = self.protocol_named(&name, span)?;
        self.used_protocols.insert(id);
        draft.protocol = Some(id);
        Ok(())
    }

    fn relay_listen(&mut self, draft: &mut Draft) -> Parsed<()> {
        self.expect("on")?;
        let named = self.address("invalid listen ip: %s", limits::LISTEN_ADDRESSES_MAX)?;
        let port = self.single_port()?;
        let tls = self.accept_tls();
        let proxy = self.accept("proxy-protocol");
        let span = named.span.to(self.last_span);
        let local: Vec<Address> = named
            .addresses
            .iter()
            .filter(|a| a.ip.is_unspecified() || self.resolver.is_local(a))
            .copied()
            .collect();
        if local.is_empty() {
            return self.error(
                named.span,
                &format!("no local listen ip: {}", named.name),
                "configure the address on an interface of this system, or listen on 0.0.0.0 or ::",
            );
        }
        draft.listeners.extend(local.into_iter().map(|address| {
            (
                Listen {
                    address,
                    port,
                    tls,
                    proxy,
                },
                span,
            )
        }));
        Ok(())
    }

    fn relay_forward(&mut self, draft: &mut Draft, transparent: bool) -> Parsed<()> {
        if self.accept("with") {
            if !self.accept_ssl("with ssl", "with tls") {
                self.expect("tls")?;
            }
            draft.tls_client = true;
        }
        self.expect("to")?;
        let span = self.peek().span;
        if self.peek().token == Token::Symbol('<') {
            let reference = self.reference()?;
            self.relay_table(draft, &reference)?;
        } else if self.accept("nat") {
            self.expect("lookup")?;
            draft.nat_lookup = true;
            self.relay_retry(draft)?;
        } else if self.accept("destination") {
            draft.destination = true;
            self.relay_retry(draft)?;
        } else {
            let named = self.address("invalid forward ip: %s", 1)?;
            let port = self.single_port()?;
            let Some(address) = named.addresses.first().copied() else {
                return Err(super::Skip);
            };
            if draft.fixed.is_some() {
                let text = format!(
                    "relay {} target or redirection already specified",
                    draft.name
                );
                return self.error(span, &text, "use a table for several servers");
            }
            draft.fixed = Some((address, port));
            self.relay_retry(draft)?;
        }
        // Properties of the relay: the last line decides, as in the original.
        draft.transparent = transparent;
        draft.translate = self.translate()?;
        let span = self.peek().span;
        if transparent && self.accept("interface") {
            self.string("an interface")?;
            self.old(
                span,
                "interface of a transparent forward",
                "the word is ignored",
            );
        }
        self.proxy_protocol(draft)
    }

    pub(super) fn relay_retry(&mut self, draft: &mut Draft) -> Parsed<()> {
        if self.accept("retry") {
            let n = self.ranged("'retry'", "invalid retry value", 0, i64::from(i32::MAX))?;
            draft.retry = u32::try_from(n).unwrap_or(0);
        }
        Ok(())
    }

    fn translate(&mut self) -> Parsed<Option<Translate>> {
        if self.accept("inet") {
            return Ok(Some(Translate::Inet));
        }
        if !self.accept("inet6") {
            return Ok(None);
        }
        let named = self.address("invalid ipv6 address %s", 1)?;
        match named.addresses.first().map(|a| a.ip) {
            Some(IpAddr::V6(ip)) => Ok(Some(Translate::Inet6(ip))),
            _ => {
                let text = format!("invalid ipv6 address {}", named.name);
                self.error(
                    named.span,
                    &text,
                    "the prefix is an IPv6 address such as 64:ff9b::",
                )
            }
        }
    }

    fn proxy_protocol(&mut self, draft: &mut Draft) -> Parsed<()> {
        if !self.accept("proxy-protocol") {
            return Ok(());
        }
        let version = if self.accept("v1") {
            ProxyVersion::V1
        } else if self.accept("v2") {
            ProxyVersion::V2
        } else {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'v1' or 'v2'");
        };
        // If both are written, v1 is used.
        if draft.proxy_protocol != Some(ProxyVersion::V1) {
            draft.proxy_protocol = Some(version);
        }
        Ok(())
    }

    pub(super) fn relay_table(&mut self, draft: &mut Draft, reference: &Reference) -> Parsed<()> {
        let mode = reference.mode.unwrap_or_default();
        if mode == Mode::LeastStates {
            return self.error(reference.span, "mode not supported for relays", "relays know roundrobin, random, source-hash, loadbalance, hash and least-connections");
        }
        let port = draft.listeners.last().map(|(l, _)| l.port);
        let table = self.instance(reference, port)?;
        if draft.tables.iter().all(|t| t.table != table) {
            draft.tables.push(RelayReference {
                table,
                mode: reference.mode,
                cookie: reference.cookie.clone(),
                span: reference.span,
            });
            draft.keys.push(reference.key);
        }
        Ok(())
    }

    /// Whether the options of tables and the protocol fit; complains if not.
    fn fit_for(&mut self, tables: &[RelayReference], kind: ProtocolKind) -> bool {
        for used in tables {
            if used.cookie.is_some() && kind != ProtocolKind::Http {
                let _ = self.complain(
                    used.span,
                    "sticky cookie needs an http protocol",
                    "add 'protocol NAME' with the name of an 'http protocol'",
                );
                return false;
            }
            let queue = self
                .table_by_id(used.table)
                .is_some_and(|t| t.queue.is_some());
            if queue && kind.datagrams() {
                let text = "warning: 'queue' has no effect here";
                let cure = "datagrams do not wait";
                self.report(Diagnostic::warning(used.span, text).cure(cure));
            }
        }
        true
    }

    fn finish_relay(&mut self, draft: Draft, span: Span) -> Parsed<()> {
        let name = &draft.name;
        if draft.listeners.is_empty() {
            return self.complain(
                span,
                &format!("relay {name} has no listener"),
                "add 'listen on ADDRESS port PORT'",
            );
        }
        if draft.nat_lookup && draft.destination {
            return self.complain(
                span,
                &format!("relay {name} with conflicting nat lookup and peer options"),
                "write either 'nat lookup' or 'destination'",
            );
        }
        if draft.target() == Target::Tables && draft.tables.is_empty() {
            return self.complain(
                span,
                &format!("relay {name} has no target, rdr, or table"),
                "add 'forward to …'",
            );
        }
        self.push_relays(&draft, span)
    }

    /// One relay for each listener.
    fn push_relays(&mut self, draft: &Draft, span: Span) -> Parsed<()> {
        let protocol = draft.protocol.unwrap_or(ProtocolId(0));
        let kind = self
            .config
            .protocol(protocol)
            .map_or(ProtocolKind::Tcp, |p| p.kind);
        let datagrams = kind.datagrams();
        if !self.fit_for(&draft.tables, kind) {
            return Ok(());
        }
        for (index, (listen, place)) in draft.listeners.iter().enumerate() {
            let id = RelayId(u32::try_from(self.config.relays.len() + 1).unwrap_or(u32::MAX));
            let name = if index == 0 {
                draft.name.clone()
            } else {
                format!("{}{id}:{}", draft.name, listen.port)
            };
            if name.len() > limits::RELAY_NAME_MAX {
                let cure = format!(
                    "further listeners are called NAME<id>:<port>, with at most {} characters",
                    limits::RELAY_NAME_MAX
                );
                return self.complain(span, "invalid relay name", &cure);
            }
            let place_of = (listen.address, listen.port, datagrams);
            if !self.listeners.insert(place_of) {
                return self.same_listener(&draft.name, *place, span);
            }
            let relay = draft.relay(id, name, *listen, protocol);
            self.config.relays.push(relay);
            self.relay_ends.push(span);
        }
        Ok(())
    }

    fn same_listener(&mut self, name: &str, place: Span, span: Span) -> Parsed<()> {
        let cure = match self.lexer.sources.place(place) {
            Some((_, line)) => {
                format!("another relay already listens on the address and port of line {line}")
            }
            None => "another relay already listens on this address and port".to_owned(),
        };
        let text = format!("relay {name} or listener defined twice");
        self.complain(span, &text, &cure)
    }
}

impl Draft {
    fn target(&self) -> Target {
        match (self.nat_lookup, self.destination, self.fixed) {
            (true, _, fixed) => Target::NatLookup(fixed),
            (_, true, fixed) => Target::Destination(fixed),
            (_, _, Some((address, port))) => Target::Address { address, port },
            (_, _, None) => Target::Tables,
        }
    }

    /// The relay of one listener.
    fn relay(&self, id: RelayId, name: String, listen: Listen, protocol: ProtocolId) -> Relay {
        let tables = self.tables.iter().map(|used| RelayTable {
            table: used.table,
            mode: used.mode.unwrap_or(self.mode),
            cookie: used.cookie.clone(),
        });
        Relay {
            id,
            name,
            block: self.name.clone(),
            disabled: self.disabled,
            listen,
            protocol,
            target: self.target(),
            tables: tables.collect(),
            key: self.keys.iter().copied().flatten().next(),
            retry: self.retry,
            transparent: self.transparent,
            tls_client: self.tls_client,
            translate: self.translate,
            proxy_protocol: self.proxy_protocol,
            session_timeout: self.session_timeout,
            access: self.access.clone(),
        }
    }
}
