//! `relay "name" { … }`
//! Owns the options of a relay and the checks between them.
//! Must never open a socket; further listeners become relays of their own, as in the original.

use super::reference::Reference;
use super::{Parsed, Parser};
use crate::lexer::Token;
use crate::limits;
use crate::model::{
    AccessLog, Address, Cookie, HashKey, Listen, Mode, ProtocolId, ProxyVersion, SessionMax,
    TableId, Translate,
};
use crate::source::Span;
use std::net::IpAddr;
use std::time::Duration;

/// `forward to <table> …`
pub(super) struct RelayReference {
    pub(super) table: TableId,
    pub(super) mode: Option<Mode>,
    pub(super) cookie: Option<Cookie>,
    pub(super) span: Span,
}

/// A relay while its lines are read.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) listeners: Vec<(Listen, Span)>,
    pub(super) disabled: bool,
    pub(super) protocol: Option<ProtocolId>,
    pub(super) tables: Vec<RelayReference>,
    pub(super) keys: Vec<Option<HashKey>>,
    pub(super) fixed: Option<(Address, u16)>,
    /// Mode of tables that give none.
    pub(super) mode: Mode,
    pub(super) nat_lookup: bool,
    pub(super) destination: bool,
    pub(super) retry: u32,
    pub(super) transparent: bool,
    pub(super) tls_client: bool,
    pub(super) translate: Option<Translate>,
    pub(super) proxy_protocol: Option<ProxyVersion>,
    pub(super) session_timeout: Duration,
    pub(super) access: Option<AccessLog>,
    pub(super) session_max: SessionMax,
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
            session_max: SessionMax::default(),
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
        self.finish_relay(&draft, close)
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
            Token::Keyword("session") if self.accept_word("max") => self.session_max(draft)?,
            Token::Keyword("session") => draft.session_timeout = self.session_timeout()?,
            Token::Keyword("log") => draft.access = Some(self.access_log()?),
            Token::Keyword("disable") => draft.disabled = true,
            _ => {
                return self.unexpected(
                    &lexeme,
                    "an option of a relay: listen, forward, protocol, session timeout, session max, log access, disable",
                );
            }
        }
        self.end_of_line()
    }

    fn session_max(&mut self, draft: &mut Draft) -> Parsed<()> {
        let client = self.accept_word("per");
        if client {
            self.expect("client")?;
        }
        let most = limits::SESSIONS_CONFIGURED_MAX;
        let n = self.ranged("'session max'", "invalid session max", 1, most)?;
        let n = u32::try_from(n).ok();
        match client {
            true => draft.session_max.client = n,
            false => draft.session_max.all = n,
        }
        Ok(())
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
        let interface = match self.accept("interface") {
            true => Some(self.interface_name()?),
            false => None,
        };
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
                    interface: interface.clone(),
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
}
