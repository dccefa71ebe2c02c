//! `<table> port … mode … check …`: how redirects, relays and routers use a table.
//! Owns references and the instances `name:port` they make.
//! Must never number a host before its table is used.

use super::table::{Template, TemplateHost};
use super::{Parsed, Parser, Skip};
use crate::diagnostic::{Diagnostic, closest};
use crate::lexer::{Lexeme, Token};
use crate::limits;
use crate::model::{Check, Cookie, HashKey, Host, HostId, Mode, Queue, Table, TableId};
use crate::source::Span;
use md5::{Digest as _, Md5};
use std::time::Duration;

/// What follows `forward to <table>`.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub template: String,
    pub span: Span,
    pub port: Option<u16>,
    pub check: Check,
    pub timeout: Option<Duration>,
    pub interval: Option<Duration>,
    pub demote: Option<String>,
    pub mode: Option<Mode>,
    pub key: Option<HashKey>,
    pub slow_start: Option<Duration>,
    pub queue: Option<Queue>,
    pub cookie: Option<Cookie>,
}

impl Reference {
    pub(super) fn new(template: String, span: Span) -> Self {
        Reference {
            template,
            span,
            port: None,
            check: Check::None,
            timeout: None,
            interval: None,
            demote: None,
            mode: None,
            key: None,
            slow_start: None,
            queue: None,
            cookie: None,
        }
    }
}

impl Parser<'_> {
    /// `<name> options…` after `forward to`; at least one option.
    pub(super) fn reference(&mut self) -> Parsed<Reference> {
        let (template, span) = self.table_name()?;
        if !self.templates.contains_key(&template) {
            return self.unknown_table(&template, span);
        }
        let mut reference = Reference::new(template, span);
        let mut any = false;
        while self.reference_option(&mut reference)? {
            any = true;
        }
        if !any {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "an option such as 'port', 'mode' or 'check'");
        }
        Ok(reference)
    }

    pub(super) fn unknown_table<T>(&mut self, name: &str, span: Span) -> Parsed<T> {
        let near = if self.lexer.diagnostics.full() {
            None
        } else {
            closest(name, self.templates.keys().map(String::as_str))
        };
        let cure = match near {
            Some(near) => format!("did you mean <{near}>?"),
            None => format!("define it before: table <{name}> {{ … }}"),
        };
        self.error(span, &format!("unknown table {name}"), &cure)
    }

    pub(super) fn reference_option(&mut self, reference: &mut Reference) -> Parsed<bool> {
        if self.accept("check") {
            reference.check = self.check()?;
        } else if matches!(self.peek().token, Token::Keyword("port")) {
            reference.port = Some(self.single_port()?);
        } else if self.accept("timeout") {
            reference.timeout = Some(self.milliseconds()?);
        } else if self.accept("interval") {
            reference.interval = Some(self.table_interval()?);
        } else if self.accept("demote") {
            reference.demote = Some(self.demote_group()?);
        } else if self.accept("mode") {
            self.mode(reference)?;
        } else if self.accept_word("slow") {
            self.slow_start(reference)?;
        } else if self.accept_word("queue") {
            self.queue(reference)?;
        } else if self.accept_word("sticky") {
            self.sticky(reference)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) fn table_interval(&mut self) -> Parsed<Duration> {
        let (n, span) = self.number("an interval in seconds")?;
        if n < 1 {
            return self.error(
                span,
                &format!("invalid interval: {n}"),
                "seconds, at least 1",
            );
        }
        // Compared with the global interval at the end: that may stand further down.
        self.intervals.push((n.unsigned_abs(), span));
        Ok(Duration::from_secs(n.unsigned_abs()))
    }

    pub(super) fn demote_group(&mut self) -> Parsed<String> {
        let span = self.peek().span;
        let group = self.string("an interface group")?;
        if group.len() > limits::INTERFACE_MAX {
            return self.error(
                span,
                "yyparse: demote group name too long",
                &format!("at most {} characters", limits::INTERFACE_MAX),
            );
        }
        if !self.resolver.demotable(&group) {
            return self.error(
                span,
                &format!("yyparse: error initializing group '{group}'"),
                "no such interface group on this system",
            );
        }
        Ok(group)
    }

    pub(super) fn mode(&mut self, reference: &mut Reference) -> Parsed<()> {
        let (mode, place) = self.mode_word()?;
        if reference.key.is_some() && mode.keyed() {
            return self.error(place, "key already specified", "write one mode");
        }
        reference.mode = Some(mode);
        let Lexeme {
            token,
            span,
            quoted,
        } = self.peek().clone();
        if let Token::Word(text) = token {
            self.next();
            if !quoted && self.option_not_key(&text, reference)? {
                return Ok(());
            }
            if !mode.keyed() {
                return self.error(
                    span,
                    "key not supported by mode",
                    &format!("'{}' has no key", mode.keyword()),
                );
            }
            reference.key = Some(self.hash_key(&text, span)?);
        }
        Ok(())
    }

    fn mode_word(&mut self) -> Parsed<(Mode, Span)> {
        let lexeme = self.next();
        let mode = match &lexeme.token {
            Token::Keyword("roundrobin") => Mode::RoundRobin,
            Token::Keyword("random") => Mode::Random,
            Token::Keyword("source-hash") => Mode::SourceHash,
            Token::Keyword("least-states") => Mode::LeastStates,
            Token::Keyword("loadbalance") => Mode::LoadBalance,
            Token::Keyword("hash") => Mode::Hash,
            Token::Word(w) if w == "least-connections" => Mode::LeastConnections,
            Token::Word(w) => {
                // The original takes the word for a key of no mode at all.
                let known = [
                    "roundrobin",
                    "random",
                    "source-hash",
                    "least-states",
                    "loadbalance",
                    "hash",
                    "least-connections",
                ];
                let cure = match closest(w, known.into_iter()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("modes are {}", known.join(", ")),
                };
                return self.error(lexeme.span, "key not supported by mode", &cure);
            }
            _ => return self.unexpected(&lexeme, "a mode"),
        };
        Ok((mode, lexeme.span))
    }

    /// `0x` and 32 digits, or any text, of which the MD5 digest is the key.
    pub(super) fn hash_key(&mut self, text: &str, span: Span) -> Parsed<HashKey> {
        let Some(hex) = text.strip_prefix("0x") else {
            return Ok(HashKey(Md5::digest(text.as_bytes()).into()));
        };
        if hex.len() != 32 {
            return self.error(
                span,
                "hex key must be 128 bits (32 hex digits) long",
                "or write a text: its digest becomes the key",
            );
        }
        match super::check::unhex(hex).and_then(|b| b.try_into().ok()) {
            Some(bytes) => Ok(HashKey(bytes)),
            None => self.error(
                span,
                "invalid hex key",
                "hexadecimal digits are 0-9 and a-f",
            ),
        }
    }

    /// The instance of a reference, shared with an identical one. `port` is that of the preceding `listen on`.
    pub(super) fn instance(&mut self, reference: &Reference, port: Option<u16>) -> Parsed<TableId> {
        let Some(port) = reference.port.or(port) else {
            return self.error(
                reference.span,
                "invalid port",
                "write 'port' here, or 'listen on' before this line",
            );
        };
        let name = format!("{}:{port}", reference.template);
        if name.len() > limits::TABLE_NAME_MAX {
            return self.error(
                reference.span,
                "invalid table mame",
                &format!(
                    "table name and port together have at most {} characters",
                    limits::TABLE_NAME_MAX
                ),
            );
        }
        let Some(mut template) = self.templates.remove(&reference.template) else {
            return Err(Skip);
        };
        template.used = true;
        let id = self.instance_of(reference, &template, name, port);
        self.templates.insert(reference.template.clone(), template);
        Ok(id)
    }

    pub(super) fn instance_of(
        &mut self,
        reference: &Reference,
        template: &Template,
        name: String,
        port: u16,
    ) -> TableId {
        let table = Table {
            id: TableId(u32::try_from(self.config.tables.len() + 1).unwrap_or(u32::MAX)),
            name,
            template: reference.template.clone(),
            port,
            disabled: template.disabled,
            check: reference.check.clone(),
            // The maximum stands for the global value until the whole file is read.
            timeout: reference.timeout.unwrap_or(Duration::MAX),
            interval: reference.interval.unwrap_or(Duration::MAX),
            demote: reference.demote.clone(),
            slow_start: reference.slow_start,
            queue: reference.queue,
            hosts: Vec::new(),
        };
        let tables = &self.config.tables;
        let named = self.instances.entry(table.name.clone()).or_default();
        let same = named
            .iter()
            .filter_map(|i| tables.get(*i))
            .find(|t| same_instance(t, &table));
        if let Some(same) = same {
            return same.id;
        }
        named.push(tables.len());
        let id = table.id;
        let hosts = template.hosts.iter().map(|h| self.instantiate(h)).collect();
        self.config.tables.push(Table { hosts, ..table });
        id
    }

    pub(super) fn instantiate(&mut self, host: &TemplateHost) -> Host {
        let id = HostId(self.next_host);
        self.next_host += 1;
        Host {
            id,
            name: host.name.clone(),
            address: host.address,
            retry: host.retry.unwrap_or(0),
            parent: host.parent.filter(|p| *p != 0).map(HostId),
            priority: host.priority.unwrap_or(0),
            ip_ttl: host.ip_ttl.unwrap_or(0),
            weight: host.weight.unwrap_or(1),
            max_connections: host.max_connections,
        }
    }

    /// Complaint about a table without hosts it could forward to.
    pub(super) fn has_check(&mut self, reference: &Reference, table: TableId) -> Parsed<()> {
        if reference.check != Check::None {
            return Ok(());
        }
        let name = self
            .table_by_id(table)
            .map_or_else(|| reference.template.clone(), |t| t.name.clone());
        self.fail(
            Diagnostic::error(reference.span, format!("table {name} has no check"))
                .cure("add a check, for example 'check tcp'"),
        )
    }
}

/// Whether two references mean one instance; hosts follow from the name.
pub(super) fn same_instance(a: &Table, b: &Table) -> bool {
    a.name == b.name
        && a.check == b.check
        && a.timeout == b.timeout
        && a.interval == b.interval
        && a.demote == b.demote
        && a.slow_start == b.slow_start
        && a.queue == b.queue
}
