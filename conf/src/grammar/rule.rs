//! `pass | block | match …`: filter rules.
//! Owns the grammar of a rule and the files it names.
//! Must never evaluate a rule.

use super::{Parsed, Parser};
use crate::lexer::Token;
use crate::limits;
use crate::model::{
    Action, Change, Direction, Family, Key, KeyKind, KeyOp, Legacy, Pattern, Protocol, Rule,
};
use crate::source::{Span, text_of};
use std::path::Path;

/// Methods the original knows; with any other a rule is refused.
pub const METHODS: &[&str] = &[
    "ACL",
    "BASELINE-CONTROL",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNCHECKOUT",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

impl Parser<'_> {
    pub(super) fn rule(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        let first = self.next();
        let span = first.span;
        self.rule_number = protocol.rules.len();
        let mut rule = Rule {
            line: self.lexer.sources.line(first.span),
            action: match first.token {
                Token::Keyword("pass") => Action::Pass,
                Token::Keyword("block") => Action::Block,
                _ => Action::Match,
            },
            direction: Direction::Request,
            quick: false,
            family: None,
            from: None,
            to: None,
            method: None,
            keys: Vec::new(),
            strip: None,
            forward: None,
            tag: Change::Keep,
            tagged: None,
            label: Change::Keep,
            legacy: None,
        };
        self.rule_head(&mut rule);
        self.rule_addresses(&mut rule)?;
        while !matches!(
            self.peek().token,
            Token::Newline | Token::End | Token::Symbol('}')
        ) {
            self.rule_option(&mut rule)?;
        }
        self.end_of_line()?;
        let appends = rule.keys.iter().any(|k| k.op == KeyOp::Append);
        if rule.legacy == Some(Legacy::Other) && appends {
            rule.legacy = Some(Legacy::Append);
        }
        self.push_rule(protocol, rule, span);
        Ok(())
    }

    /// Direction, `legacy`, `quick`, family.
    fn rule_head(&mut self, rule: &mut Rule) {
        if self.accept("response") {
            rule.direction = Direction::Response;
        } else {
            self.accept("request");
        }
        if self.accept_word("legacy") {
            rule.legacy = Some(if self.accept("expect") {
                Legacy::Expect
            } else if self.accept_word("filter") {
                Legacy::Filter
            } else {
                Legacy::Other
            });
        }
        rule.quick = self.accept("quick");
        if self.accept("inet") {
            rule.family = Some(Family::Inet);
        } else if self.accept("inet6") {
            rule.family = Some(Family::Inet6);
        }
    }

    fn rule_addresses(&mut self, rule: &mut Rule) -> Parsed<()> {
        let start = self.peek().span;
        if self.accept("from") {
            rule.from = Some(self.prefix()?);
        }
        if self.accept("to") {
            rule.to = Some(self.prefix()?);
        }
        let families = [
            rule.family.map(|f| f == Family::Inet),
            rule.from.map(|n| n.is_ipv4()),
            rule.to.map(|n| n.is_ipv4()),
        ];
        let mut known = families.into_iter().flatten();
        if let Some(first) = known.next()
            && known.any(|f| f != first)
        {
            return self.error(
                start.to(self.last_span),
                "address family mismatch",
                "'inet', 'inet6', 'from' and 'to' must be of one family",
            );
        }
        Ok(())
    }

    fn rule_option(&mut self, rule: &mut Rule) -> Parsed<()> {
        let lexeme = self.next();
        match &lexeme.token {
            Token::Keyword("method") => self.rule_method(rule),
            Token::Keyword("header") => self.key(rule, KeyKind::Header, lexeme.span),
            Token::Keyword("cookie") => self.key(rule, KeyKind::Cookie, lexeme.span),
            Token::Keyword("query") => self.key(rule, KeyKind::Query, lexeme.span),
            Token::Keyword("url") => self.key(rule, KeyKind::Url, lexeme.span),
            Token::Keyword("path") => {
                if !self.accept("strip") {
                    return self.key(rule, KeyKind::Path, lexeme.span);
                }
                self.check_direction(rule, KeyKind::Path, lexeme.span)?;
                let (n, span) = self.number("the number of components")?;
                match u32::try_from(n) {
                    Ok(n) => rule.strip = Some(n),
                    Err(_) => return self.error(span, "invalid strip number", "0 or more"),
                }
                Ok(())
            }
            Token::Keyword("forward") => self.rule_table(rule),
            Token::Keyword("tag") => self.rule_tag(rule, lexeme.span),
            Token::Keyword("tagged") => self.rule_tagged(rule, lexeme.span),
            Token::Keyword("label") => self.rule_label(rule, lexeme.span),
            Token::Keyword("no") => self.rule_no(rule, lexeme.span),
            _ => self.unexpected(&lexeme, "an option of a rule: method, header, cookie, path, query, url, forward to, tag, tagged, label"),
        }
    }

    fn rule_method(&mut self, rule: &mut Rule) -> Parsed<()> {
        let word = self.next();
        let Token::Word(name) = &word.token else {
            return self.unexpected(&word, "a method");
        };
        if !METHODS.contains(&name.as_str()) {
            let upper = name.to_ascii_uppercase();
            let cure = if METHODS.contains(&upper.as_str()) {
                format!("methods are upper case: {upper}")
            } else {
                "rules know the methods of HTTP and WebDAV".to_owned()
            };
            let text = "unknown HTTP method currently not supported";
            return self.error(word.span, text, &cure);
        }
        rule.method = Some(name.clone());
        Ok(())
    }

    fn rule_table(&mut self, rule: &mut Rule) -> Parsed<()> {
        self.expect("to")?;
        let (name, span) = self.table_name_for("invalid forward table name")?;
        self.rule_tables
            .push((self.current_protocol(), self.rule_number, span));
        // The original resolves the name while reading the rule.
        if !self.templates.contains_key(&name) {
            let cure = format!("define it before: table <{name}> {{ … }}");
            return self.error(span, "undefined forward table", &cure);
        }
        rule.forward = Some(name);
        Ok(())
    }

    fn rule_tag(&mut self, rule: &mut Rule, span: Span) -> Parsed<()> {
        let (tag, _) = self.name("a tag", limits::TAG_MAX, "tag truncated")?;
        if rule.tag != Change::Keep {
            return self.error(
                span.to(self.last_span),
                "tag already defined",
                "a rule sets one tag",
            );
        }
        if tag.is_empty() {
            return self.error(span, "invalid tag", "a tag has at least one character");
        }
        self.tagged = true;
        rule.tag = Change::Set(tag);
        Ok(())
    }

    fn rule_tagged(&mut self, rule: &mut Rule, span: Span) -> Parsed<()> {
        let (tag, _) = self.name("a tag", limits::TAG_MAX, "tagged truncated")?;
        if rule.tagged.is_some() {
            return self.error(
                span.to(self.last_span),
                "tagged already defined",
                "a rule asks for one tag",
            );
        }
        rule.tagged = Some(tag);
        Ok(())
    }

    fn rule_label(&mut self, rule: &mut Rule, span: Span) -> Parsed<()> {
        let (label, _) = self.name("a label", limits::LABEL_MAX, "label truncated")?;
        if rule.label != Change::Keep {
            return self.error(
                span.to(self.last_span),
                "label already defined",
                "a rule sets one label",
            );
        }
        if label.is_empty() {
            return self.error(span, "invalid label", "a label has at least one character");
        }
        self.labelled = true;
        rule.label = Change::Set(label);
        Ok(())
    }

    fn rule_no(&mut self, rule: &mut Rule, span: Span) -> Parsed<()> {
        if self.accept("tag") {
            if !self.tagged {
                return self.error(span, "no tag defined", "no rule before this one sets a tag");
            }
            rule.tag = Change::Clear;
        } else if self.accept("label") {
            if !self.labelled {
                return self.error(
                    span,
                    "no label defined",
                    "no rule before this one sets a label",
                );
            }
            rule.label = Change::Clear;
        } else {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'tag' or 'label'");
        }
        Ok(())
    }

    /// Refuses a key that messages of the rule's direction have not.
    fn check_direction(&mut self, rule: &Rule, kind: KeyKind, span: Span) -> Parsed<()> {
        let request = matches!(kind, KeyKind::Path | KeyKind::Query | KeyKind::Url);
        if rule.direction == Direction::Response && request {
            let cure = "responses have no path, query or url";
            return self.error(span, "failed to load rule", cure);
        }
        Ok(())
    }

    fn key(&mut self, rule: &mut Rule, kind: KeyKind, span: Span) -> Parsed<()> {
        self.check_direction(rule, kind, span)?;
        let op = self.key_op();
        if matches!(kind, KeyKind::Query | KeyKind::Url)
            && matches!(op, KeyOp::Append | KeyOp::Set | KeyOp::Remove)
        {
            let name = if kind == KeyKind::Query {
                "query"
            } else {
                "url"
            };
            return self.error(
                span.to(self.last_span),
                &format!("combining {name} type and the given option is not supported"),
                "only conditions, hash and log",
            );
        }
        let lua = self.accept_word("pattern");
        let pattern = self.pattern(rule, kind, op)?;
        let value = if pattern != Pattern::Any && self.accept("value") {
            Some(self.any_string("a value in quotes")?)
        } else {
            None
        };
        let key = Key {
            kind,
            op,
            pattern,
            value,
            lua,
        };
        // A second key of one type replaces the first, as in the original.
        rule.keys.retain(|k| k.kind != kind);
        rule.keys.push(key);
        Ok(())
    }

    fn key_op(&mut self) -> KeyOp {
        let op = match &self.peek().token {
            Token::Keyword("append") => KeyOp::Append,
            Token::Keyword("set") => KeyOp::Set,
            Token::Keyword("remove") => KeyOp::Remove,
            Token::Keyword("hash") => KeyOp::Hash,
            Token::Keyword("log") => KeyOp::Log,
            _ => return KeyOp::Test,
        };
        self.next();
        op
    }

    /// Keys may be reserved words only in quotes; numbers are words here.
    pub(super) fn any_string(&mut self, what: &str) -> Parsed<String> {
        if let Token::Number(n) = self.peek().token {
            self.next();
            return Ok(n.to_string());
        }
        self.string(what)
    }

    fn pattern(&mut self, rule: &Rule, kind: KeyKind, op: KeyOp) -> Parsed<Pattern> {
        let span = self.peek().span;
        if self.accept("digest") {
            let hex = self.string("a digest in quotes")?;
            if kind != KeyKind::Url {
                return self.error(span, "syntax error", "only 'url' takes a digest");
            }
            return Ok(Pattern::Digest(self.digest(&hex, span)?));
        }
        if self.accept("file") {
            if rule
                .keys
                .iter()
                .any(|k| matches!(k.pattern, Pattern::File { .. }))
            {
                return self.error(
                    span,
                    "only one file per rule supported",
                    "write a second rule",
                );
            }
            let path = self.string("a file name in quotes")?;
            return self.key_file(path, span);
        }
        match self.peek().token {
            Token::Word(_) | Token::Number(_) => Ok(Pattern::One(self.any_string("a key")?)),
            _ if op == KeyOp::Log => Ok(Pattern::One("*".to_owned())),
            _ => Ok(Pattern::Any),
        }
    }

    /// First words of the lines of a file; empty lines and `#` lines do not count.
    pub(super) fn key_file(&mut self, path: String, span: Span) -> Parsed<Pattern> {
        let text = self
            .lexer
            .read(Path::new(&path))
            .map_err(|e| e.to_string())
            .and_then(text_of);
        match text {
            Ok(text) => {
                let keys = text
                    .lines()
                    .filter(|l| !l.starts_with('#'))
                    .filter_map(|l| l.split_whitespace().next())
                    .map(str::to_owned)
                    .collect();
                Ok(Pattern::File { path, keys })
            }
            Err(reason) => self.error(
                span.to(self.last_span),
                &format!("failed to load rules from {path}"),
                &reason,
            ),
        }
    }
}
