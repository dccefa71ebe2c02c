//! `redirect "name" { … }`
//! Owns the options of a redirect and the checks between them.
//! Must never ask what a packet filter can do: the backend's capabilities are judged later.

use super::reference::Reference;
use super::{Parsed, Parser};
use crate::lexer::Token;
use crate::limits;
use crate::model::{Forward, Mode, PfTag, Redirect, RedirectId, TableId, VirtualAddress};
use crate::source::Span;

/// A redirect while its lines are read.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) redirect: Redirect,
    tables: Vec<(Reference, TableId)>,
    /// Port of the first `listen on`.
    port: Option<u16>,
}

impl Parser<'_> {
    pub(super) fn redirect(&mut self) -> Parsed<()> {
        self.next();
        self.begun += 1;
        let (name, span) = self.name(
            "the redirection's name",
            limits::REDIRECT_NAME_MAX,
            "redirection name truncated: %s",
        )?;
        self.unique(
            "redirect",
            &name,
            span,
            &format!("redirection {name} defined twice"),
        )?;
        let mut draft = self.redirect_draft(name);
        if !self.block(|p| p.redirect_line(&mut draft))? {
            return Ok(());
        }
        self.finish_redirect(draft, self.close)
    }

    pub(super) fn redirect_draft(&self, name: String) -> Draft {
        let id = RedirectId(u32::try_from(self.config.redirects.len() + 1).unwrap_or(u32::MAX));
        Draft {
            redirect: Redirect {
                id,
                name: name.clone(),
                disabled: false,
                listeners: Vec::new(),
                table: TableId(0),
                backup: None,
                keep_port: false,
                port: 0,
                mode: Mode::RoundRobin,
                key: None,
                forward: Forward::Translate,
                sticky: false,
                tag: None,
                session_timeout: limits::SESSION_TIMEOUT_DEFAULT,
                masquerade: false,
            },
            name,
            tables: Vec::new(),
            port: None,
        }
    }

    fn redirect_line(&mut self, draft: &mut Draft) -> Parsed<()> {
        let lexeme = self.next();
        match &lexeme.token {
            Token::Keyword("listen") => self.redirect_listen(draft)?,
            Token::Keyword("forward") => self.redirect_forward(draft, false)?,
            Token::Keyword("route") => self.redirect_forward(draft, true)?,
            Token::Keyword("transparent") => {
                return self.error(
                    lexeme.span,
                    "no transparent forward here",
                    "'transparent' is an option of relays",
                );
            }
            Token::Keyword("disable") => draft.redirect.disabled = true,
            Token::Keyword("sticky-address") => draft.redirect.sticky = true,
            Token::Keyword("match") => {
                self.accept_pftag()?;
                self.pftag(draft, true)?;
            }
            Token::Keyword("tag") => {
                self.ancient(lexeme.span, "tag", "pftag");
                self.pftag(draft, false)?;
            }
            Token::Keyword("pftag") => self.pftag(draft, false)?,
            Token::Keyword("session") => draft.redirect.session_timeout = self.session_timeout()?,
            Token::Word(w) if w == "masquerade" => draft.redirect.masquerade = true,
            _ => {
                return self.unexpected(&lexeme, "an option of a redirect: listen, forward, route, pftag, session timeout, sticky-address, disable");
            }
        }
        self.end_of_line()
    }

    fn accept_pftag(&mut self) -> Parsed<()> {
        let span = self.peek().span;
        if self.accept("tag") {
            self.ancient(span, "match tag", "match pftag");
            return Ok(());
        }
        self.expect("pftag")
    }

    pub(super) fn pftag(&mut self, draft: &mut Draft, match_only: bool) -> Parsed<()> {
        let span = self.peek().span;
        let name = self.any_string("a tag")?;
        if name.len() > limits::TAG_MAX {
            let text = format!("redirection tag name truncated: {name}");
            return self.error(
                span,
                &text,
                &format!("at most {} characters", limits::TAG_MAX),
            );
        }
        draft.redirect.tag = Some(PfTag { name, match_only });
        Ok(())
    }

    fn redirect_listen(&mut self, draft: &mut Draft) -> Parsed<()> {
        self.expect("on")?;
        self.redirect_address(draft)
    }

    pub(super) fn redirect_address(&mut self, draft: &mut Draft) -> Parsed<()> {
        let named = self.address("invalid virtual ip: %s", limits::LISTEN_ADDRESSES_MAX)?;
        let ip_protocol = self.ip_protocol()?;
        let ports = self.ports()?;
        let mut interface = None;
        let mut log = false;
        loop {
            if self.accept("interface") {
                interface = Some(self.interface_name()?);
            } else if self.accept("pflog") {
                log = true;
            } else {
                break;
            }
        }
        draft.port.get_or_insert(ports.first);
        draft
            .redirect
            .listeners
            .extend(named.addresses.iter().map(|address| VirtualAddress {
                address: *address,
                ip_protocol,
                port: ports.first,
                port_end: ports.last,
                interface: interface.clone(),
                log,
            }));
        Ok(())
    }

    pub(super) fn interface_name(&mut self) -> Parsed<String> {
        let (name, span) = self.name(
            "an interface",
            limits::INTERFACE_MAX,
            "interface name truncated",
        )?;
        self.known_interface(&name, span);
        Ok(name)
    }

    fn ip_protocol(&mut self) -> Parsed<u8> {
        let lexeme = self.peek().clone();
        let name = match &lexeme.token {
            Token::Keyword("tcp") => "tcp",
            Token::Word(w) => w.as_str(),
            _ => return Ok(6),
        };
        self.next();
        match self.resolver.ip_protocol(name) {
            Some(number) => Ok(number),
            None => self.error(
                lexeme.span,
                &format!("invalid protocol: {name}"),
                "'tcp' and 'udp' are the protocols that have ports",
            ),
        }
    }

    fn redirect_forward(&mut self, draft: &mut Draft, route: bool) -> Parsed<()> {
        self.expect("to")?;
        let mut reference = self.reference()?;
        self.for_relays_only(&mut reference)?;
        let span = self.peek().span;
        let interface = if self.accept("interface") {
            Some(self.interface_name()?)
        } else {
            None
        };
        let forward = match (route, interface) {
            (true, Some(interface)) => Forward::Route { interface },
            (true, None) => {
                return self.error(
                    span,
                    "missing interface to route to",
                    "add 'interface IF', where the hosts are",
                );
            }
            (false, Some(_)) => {
                return self.error(
                    span,
                    "superfluous interface",
                    "only 'route to' takes an interface",
                );
            }
            (false, None) => Forward::Translate,
        };
        self.redirect_table(draft, reference, Some(forward))
    }

    pub(super) fn redirect_table(
        &mut self,
        draft: &mut Draft,
        reference: Reference,
        forward: Option<Forward>,
    ) -> Parsed<()> {
        if draft.tables.len() >= 2 {
            return self.error(
                reference.span,
                "only one backup table is allowed",
                "put all spare hosts into one table",
            );
        }
        let mode = reference.mode.unwrap_or_default();
        if matches!(
            mode,
            Mode::LoadBalance | Mode::Hash | Mode::LeastConnections
        ) {
            return self.error(
                reference.span,
                "mode not supported for redirections",
                "redirects know roundrobin, random, source-hash and least-states",
            );
        }
        let table = self.instance(&reference, draft.port)?;
        self.has_check(&reference, table)?;
        self.same_as_main(draft, &reference, table)?;
        draft.redirect.forward = forward.unwrap_or(Forward::Translate);
        draft.redirect.mode = mode;
        if reference.key.is_some() {
            draft.redirect.key = reference.key;
        }
        draft.tables.push((reference, table));
        Ok(())
    }

    /// A backup table has the main table's mode and port.
    fn same_as_main(&mut self, draft: &Draft, reference: &Reference, table: TableId) -> Parsed<()> {
        let Some((first, main)) = draft.tables.first() else {
            return Ok(());
        };
        if first.mode.unwrap_or_default() != reference.mode.unwrap_or_default() {
            let text = format!("backup table for {} with different mode", draft.name);
            return self.error(reference.span, &text, "write the same mode for both tables");
        }
        let port = |id| self.table_by_id(id).map(|t| t.port);
        if port(*main) != port(table) {
            let text = format!(
                "redirection {} uses two different ports for its table and backup table",
                draft.name
            );
            return self.error(reference.span, &text, "write the same port for both tables");
        }
        Ok(())
    }

    pub(super) fn finish_redirect(&mut self, draft: Draft, span: Span) -> Parsed<()> {
        let Draft {
            name,
            mut redirect,
            tables,
            ..
        } = draft;
        let mut tables = tables.into_iter();
        let Some((reference, table)) = tables.next() else {
            return self.complain(
                span,
                &format!("redirection {name} has no table"),
                "add 'forward to <table> …'",
            );
        };
        if redirect.listeners.is_empty() {
            return self.complain(
                span,
                &format!("redirection {name} has no virtual ip"),
                "add 'listen on ADDRESS port PORT'",
            );
        }
        redirect.table = table;
        redirect.backup = tables.next().map(|(_, id)| id);
        redirect.port = self.table_by_id(table).map_or(0, |t| t.port);
        redirect.keep_port =
            reference.port.is_none() && redirect.listeners.iter().any(|l| l.port != l.port_end);
        self.config.redirects.push(redirect);
        Ok(())
    }

    /// Reports a fault of a block that was read to its end: there is nothing left to skip.
    pub(super) fn complain(&mut self, span: Span, text: &str, cure: &str) -> Parsed<()> {
        let _: Parsed<()> = self.error(span, text, cure);
        Ok(())
    }
}
