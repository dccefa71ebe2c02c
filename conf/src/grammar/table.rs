//! `table <name> { … }` and the table references of redirects, relays and routers.
//! Owns templates and their instances `name:port`.
//! Must never number a host before its table is used.

use super::{Parsed, Parser, Skip};
use crate::diagnostic::{Diagnostic, closest};
use crate::lexer::Token;
use crate::limits;
use crate::model::{Address, Check, HashKey, Host, HostId, Mode, Table, TableId};
use crate::source::Span;
use md5::{Digest as _, Md5};
use std::time::Duration;

/// A table definition.
#[derive(Clone, Debug, Default)]
pub(super) struct Template {
    pub hosts: Vec<TemplateHost>,
    pub disabled: bool,
    pub used: bool,
    /// Written for hoststated.
    pub old: Option<Box<super::legacy::OldTable>>,
    pub span: Span,
}

/// A host of a definition: everything but its id.
#[derive(Clone, Debug)]
pub(super) struct TemplateHost {
    name: String,
    address: Address,
    retry: Option<u32>,
    parent: Option<u32>,
    priority: Option<u8>,
    ip_ttl: Option<u8>,
    weight: Option<u16>,
    max_connections: Option<u32>,
}

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
        }
    }
}

impl Parser<'_> {
    /// `<name>`
    pub(super) fn table_name(&mut self) -> Parsed<(String, Span)> {
        self.table_name_for("invalid table name")
    }

    /// The same; `message` is for a name that is too long.
    pub(super) fn table_name_for(&mut self, message: &str) -> Parsed<(String, Span)> {
        let start = self.peek().span;
        if !self.accept_symbol('<') {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'<' and a table's name");
        }
        let lexeme = self.next();
        let name = match &lexeme.token {
            Token::Word(w) => w.clone(),
            Token::Keyword(k) => (*k).to_owned(),
            Token::Number(n) => n.to_string(),
            _ => return self.unexpected(&lexeme, "a table's name"),
        };
        if !self.accept_symbol('>') {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'>' after the table's name");
        }
        let span = start.to(self.last_span);
        if name.len() > limits::TABLE_NAME_MAX {
            return self.error(span, message, "at most 63 characters");
        }
        Ok((name, span))
    }

    pub(super) fn table(&mut self) -> Parsed<()> {
        let start = self.next().span;
        if self.peek().token != Token::Symbol('<') {
            return self.old_table(start);
        }
        let (name, span) = self.table_name()?;
        let unique = self.unique("table", &name, span, &format!("table {name} defined twice"));
        let mut template = Template {
            span,
            ..Template::default()
        };
        let mut braces = false;
        loop {
            if self.accept("disable") {
                template.disabled = true;
            } else if self.peek().token == Token::Symbol('{') {
                braces = true;
                // Its faults were reported one by one.
                let _ = self.host_list(&mut template);
            } else {
                break;
            }
        }
        if !braces && template.disabled {
            let text = format!("table {name} has no hosts");
            return self.error(span, &text, "write them in braces: { HOST … }");
        }
        if !braces {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'{' and the table's hosts");
        }
        let ended = self.end_of_line();
        // A faulty table is known all the same: each use of it would only repeat the complaint.
        if unique.is_ok() {
            self.templates.insert(name, template);
        }
        ended
    }

    fn host_list(&mut self, template: &mut Template) -> Parsed<()> {
        let open = self.peek().span;
        self.next();
        let mut good = true;
        let mut count = 0;
        loop {
            match self.peek().token {
                Token::Newline | Token::Symbol(',') => {
                    self.next();
                }
                Token::Symbol('}') => {
                    let close = self.next();
                    if count == 0 && template.hosts.is_empty() {
                        return self.error(
                            close.span,
                            "syntax error",
                            "a table has at least one host",
                        );
                    }
                    return if good { Ok(()) } else { Err(Skip) };
                }
                Token::End => {
                    return self.error(open, "syntax error", "this list is never closed with '}'");
                }
                Token::Keyword("include") => {
                    self.next();
                    self.include()?;
                    count += 1;
                }
                _ => {
                    count += 1;
                    match self.host() {
                        Ok(host) => template.hosts.push(host),
                        Err(Skip) => {
                            good = false;
                            self.skip_host();
                        }
                    }
                }
            }
        }
    }

    fn skip_host(&mut self) {
        while !matches!(
            self.peek().token,
            Token::Newline | Token::Symbol(',' | '}') | Token::End
        ) {
            self.next();
        }
    }

    pub(super) fn host(&mut self) -> Parsed<TemplateHost> {
        let named = self.address("invalid host %s", 1)?;
        let Some(address) = named.addresses.first().copied() else {
            return Err(Skip);
        };
        let mut host = TemplateHost {
            name: named.name,
            address,
            retry: None,
            parent: None,
            priority: None,
            ip_ttl: None,
            weight: None,
            max_connections: None,
        };
        let max = i64::from(u32::MAX);
        loop {
            let span = self.peek().span;
            if self.accept("retry") {
                let n = self.ranged("'retry'", "invalid retry value", 0, i64::from(i32::MAX))?;
                self.once(host.retry.is_some(), "retry value already set", span)?;
                host.retry = u32::try_from(n).ok();
            } else if self.accept("parent") {
                let n = self.ranged("'parent'", "invalid parent value", 0, max)?;
                self.once(host.parent.is_some(), "parent value already set", span)?;
                host.parent = u32::try_from(n).ok();
            } else if self.accept("priority") {
                let n = self.ranged(
                    "'priority'",
                    "invalid priority value",
                    0,
                    i64::from(limits::PRIORITY_MAX),
                )?;
                self.once(host.priority.is_some(), "priority already set", span)?;
                host.priority = u8::try_from(n).ok();
            } else if self.accept("ip") {
                self.expect("ttl")?;
                let n = self.ranged("'ip ttl'", "invalid ttl value", 0, 255)?;
                self.once(host.ip_ttl.is_some(), "ttl value already set", span)?;
                host.ip_ttl = u8::try_from(n).ok();
            } else if self.accept_word("weight") {
                let n = self.ranged("'weight'", "invalid weight", 1, limits::WEIGHT_MAX)?;
                self.once(host.weight.is_some(), "weight already set", span)?;
                host.weight = u16::try_from(n).ok();
            } else if self.accept_word("max") {
                if !self.accept_word("connections") {
                    let lexeme = self.next();
                    return self.unexpected(&lexeme, "'connections'");
                }
                let n = self.ranged("'max connections'", "invalid max connections", 1, max)?;
                self.once(
                    host.max_connections.is_some(),
                    "max connections already set",
                    span,
                )?;
                host.max_connections = u32::try_from(n).ok();
            } else {
                return Ok(host);
            }
        }
    }

    fn once(&mut self, already: bool, message: &str, span: Span) -> Parsed<()> {
        if already {
            return self.error(span.to(self.last_span), message, "write it once");
        }
        Ok(())
    }

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

    fn reference_option(&mut self, reference: &mut Reference) -> Parsed<bool> {
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
                "at most 15 characters",
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

    fn mode(&mut self, reference: &mut Reference) -> Parsed<()> {
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
        if reference.key.is_some() && mode.keyed() {
            return self.error(lexeme.span, "key already specified", "write one mode");
        }
        reference.mode = Some(mode);
        let span = self.peek().span;
        if let Token::Word(text) = self.peek().token.clone() {
            self.next();
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

    /// `0x` and 32 digits, or any text, of which the MD5 digest is the key.
    fn hash_key(&mut self, text: &str, span: Span) -> Parsed<HashKey> {
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
                "invalid table name",
                "table name and port together have at most 63 characters",
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

    fn instance_of(
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

    fn instantiate(&mut self, host: &TemplateHost) -> Host {
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
}
