//! hoststated.conf of OpenBSD 4.1 and 4.2: tables without brackets, services, table lines in relays.
//! Owns their translation into templates, redirects and relay tables.
//! Must never be reached by a statement of today's grammar.

use super::super::reference::Reference;
use super::super::relay::Draft as RelayDraft;
use super::super::table::Template;
use super::super::{Parsed, Parser};
use super::OldTable;
use crate::lexer::Token;
use crate::limits;
use crate::model::{Check, Mode};
use crate::source::Span;
use std::time::Duration;

impl Parser<'_> {
    /// `table NAME { … }`; `table` was read and no `<` follows.
    pub(in crate::grammar) fn old_table(&mut self, span: Span) -> Parsed<()> {
        let (name, place) = self.name(
            "the table's name",
            limits::TABLE_NAME_MAX,
            "table name truncated",
        )?;
        self.ancient(
            span.to(place),
            "table without brackets",
            &format!("table <{name}> {{ HOST … }}; 'check', 'real port' and the rest follow 'forward to <{name}>'"),
        );
        let unique = self.unique(
            "table",
            &name,
            place,
            &format!("table {name} defined twice"),
        );
        let mut template = Template::default();
        let mut old = OldTable::default();
        if self.accept("disable") {
            template.disabled = true;
        }
        self.escaped_send = true;
        let block = self.block(|p| p.old_table_line(&mut template, &mut old));
        self.escaped_send = false;
        block?;
        let close = self.close;
        if template.hosts.is_empty() {
            let text = format!("table {name} has no hosts");
            let _: Parsed<()> = self.error(close, &text, "add a line 'host ADDRESS'");
        }
        template.old = Some(Box::new(old));
        if unique.is_ok() {
            self.templates.insert(name, template);
        }
        Ok(())
    }

    fn old_table_line(&mut self, template: &mut Template, old: &mut OldTable) -> Parsed<()> {
        let lexeme = self.next();
        match &lexeme.token {
            Token::Keyword("host") => {
                let host = self.host()?;
                template.hosts.push(host);
            }
            Token::Keyword("real") => old.port = Some(self.single_port()?),
            Token::Keyword("check") => old.check = self.check()?,
            Token::Keyword("timeout") => old.timeout = Some(self.milliseconds()?),
            Token::Keyword("interval") => old.interval = Some(self.table_interval()?),
            Token::Keyword("demote") => old.demote = Some(self.demote_group()?),
            Token::Keyword("disable") => template.disabled = true,
            _ => {
                return self.unexpected(
                    &lexeme,
                    "'host', 'check' or 'real port' (hoststated), or write today's form: table <NAME> { HOST … }",
                );
            }
        }
        self.end_of_line()
    }

    /// A reference to a hoststated table: its own lines, with the port of the line that uses it.
    fn old_reference(&mut self) -> Parsed<Reference> {
        let span = self.peek().span;
        let name = self.string("the table's name")?;
        let Some(template) = self.templates.get(&name) else {
            return self.unknown_table(&name, span);
        };
        let old = template.old.as_deref().cloned().unwrap_or_default();
        let mut reference = Reference {
            port: old.port,
            check: old.check,
            timeout: old.timeout,
            interval: old.interval,
            demote: old.demote,
            ..Reference::new(name, span)
        };
        if matches!(self.peek().token, Token::Keyword("port")) {
            reference.port = Some(self.single_port()?);
        }
        Ok(reference)
    }

    /// `service NAME { … }`; `service` was read.
    pub(in crate::grammar) fn old_service(&mut self, span: Span) -> Parsed<()> {
        self.begun += 1;
        let (name, place) = self.name(
            "the service's name",
            limits::REDIRECT_NAME_MAX,
            "redirection name truncated: %s",
        )?;
        self.ancient(span.to(place), "service", &format!("redirect \"{name}\""));
        let text = format!("redirection {name} defined twice");
        self.unique("redirect", &name, place, &text)?;
        let mut draft = self.redirect_draft(name);
        if self.block(|p| p.old_service_line(&mut draft))? {
            let close = self.close;
            if let Some(first) = draft.redirect.listeners.first() {
                self.old
                    .services
                    .insert(draft.name.clone(), (first.address, first.port));
            }
            self.finish_redirect(draft, close)?;
        }
        Ok(())
    }

    fn old_service_line(&mut self, draft: &mut super::super::redirect::Draft) -> Parsed<()> {
        let lexeme = self.next();
        match &lexeme.token {
            Token::Word(w) if w == "virtual" => {
                self.expect("host")?;
                return self.virtual_host(draft);
            }
            Token::Keyword("backup") => {
                self.expect("table")?;
                let reference = self.old_reference()?;
                self.redirect_table(draft, reference, None)?;
            }
            Token::Keyword("table") => {
                let reference = self.old_reference()?;
                self.redirect_table(draft, reference, None)?;
            }
            Token::Keyword("tag") => self.pftag(draft, false)?,
            Token::Keyword("sticky-address") => draft.redirect.sticky = true,
            Token::Keyword("disable") => draft.redirect.disabled = true,
            _ => {
                return self.unexpected(
                    &lexeme,
                    "an option of a hoststated service: virtual host, table, backup table, tag, sticky-address, disable",
                );
            }
        }
        self.end_of_line()
    }

    /// `ADDR port P [interface IF]`
    fn virtual_host(&mut self, draft: &mut super::super::redirect::Draft) -> Parsed<()> {
        self.redirect_address(draft)?;
        self.end_of_line()
    }

    /// `table T [port P] [MODE] [no check]` in a relay; `table` was read.
    pub(in crate::grammar) fn old_relay_table(
        &mut self,
        draft: &mut RelayDraft,
        span: Span,
    ) -> Parsed<()> {
        let mut reference = self.old_reference()?;
        // Without a word the mode was this one; roundrobin came with 4.4.
        reference.mode = Some(Mode::LoadBalance);
        loop {
            if self.accept("loadbalance") {
                reference.mode = Some(Mode::LoadBalance);
            } else if self.accept("roundrobin") {
                reference.mode = Some(Mode::RoundRobin);
            } else if self.accept("hash") {
                reference.mode = Some(Mode::Hash);
            } else if self.accept("no") {
                self.expect("check")?;
                reference.check = Check::None;
            } else {
                break;
            }
        }
        self.ancient(
            span,
            "table in a relay",
            &format!("forward to <{}> port … mode … check …", reference.template),
        );
        self.relay_table(draft, &reference)
    }

    /// `service S [retry N]` in a relay; `service` was read.
    pub(in crate::grammar) fn old_relay_service(
        &mut self,
        draft: &mut RelayDraft,
        span: Span,
    ) -> Parsed<()> {
        let place = self.peek().span;
        let name = self.string("the service's name")?;
        let Some(target) = self.old.services.get(&name).copied() else {
            let cure = format!("define it before: service {name} {{ … }}");
            return self.error(place, &format!("no such service: {name}"), &cure);
        };
        self.ancient(
            span,
            "service in a relay",
            &format!("forward to {} port {}", target.0.ip, target.1),
        );
        draft.fixed = Some(target);
        self.relay_retry(draft)
    }

    /// `timeout S` in a relay, and `forward timeout S` of 4.3.
    pub(in crate::grammar) fn old_relay_timeout(&mut self, span: Span) -> Parsed<Duration> {
        let (n, place) = self.number("the session timeout in seconds")?;
        if n < 0 || n.unsigned_abs() > limits::SESSION_TIMEOUT_MAX {
            let text = format!("invalid timeout: {n}");
            return self.error(place, &text, "seconds, 0 or more");
        }
        self.ancient(span, "timeout in a relay", &format!("session timeout {n}"));
        Ok(Duration::from_secs(n.unsigned_abs()))
    }
}
