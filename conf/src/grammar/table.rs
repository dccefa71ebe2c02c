//! `table <name> { … }` of today's grammar.
//! Owns definitions: what `reference` makes instances of.
//! Must never number a host: hosts get ids when their table is used.

use super::{Parsed, Parser, Skip};
use crate::lexer::Token;
use crate::limits;
use crate::model::Address;
use crate::source::Span;

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
    pub name: String,
    pub address: Address,
    pub retry: Option<u32>,
    pub parent: Option<u32>,
    pub priority: Option<u8>,
    pub ip_ttl: Option<u8>,
    pub weight: Option<u16>,
    pub max_connections: Option<u32>,
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
            return self.error(
                span,
                message,
                &format!("at most {} characters", limits::TABLE_NAME_MAX),
            );
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
        while self.host_option(&mut host)? {}
        Ok(host)
    }

    /// Reads one option; answers whether there was one.
    fn host_option(&mut self, host: &mut TemplateHost) -> Parsed<bool> {
        let max = i64::from(u32::MAX);
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
            let most = i64::from(limits::PRIORITY_MAX);
            let n = self.ranged("'priority'", "invalid priority value", 0, most)?;
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
            let already = host.max_connections.is_some();
            self.once(already, "max connections already set", span)?;
            host.max_connections = u32::try_from(n).ok();
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn once(&mut self, already: bool, message: &str, span: Span) -> Parsed<()> {
        if already {
            return self.error(span.to(self.last_span), message, "write it once");
        }
        Ok(())
    }
}
