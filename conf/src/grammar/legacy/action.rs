//! Filter actions of hoststated and relayd 4.3 to 5.5: `header append "V" to "K"`, `request path filter …`.
//! Owns their translation into rules that keep the old meaning.
//! Must never rewrite them into today's rules: no sequence of those means the same.

use super::super::{Parsed, Parser};
use crate::lexer::Token;
use crate::limits;
use crate::model::{
    Action, Change, Direction, Key, KeyKind, KeyOp, Legacy, Pattern, Protocol, Rule,
};
use crate::source::Span;

/// What an old action does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Append,
    Change,
    Remove,
    Expect,
    Filter,
    Hash,
    Log,
    Mark,
}

impl Parser<'_> {
    /// `protocol http|tcp|dns` inside a block; `protocol` was read.
    pub(in crate::grammar) fn old_protocol_type(
        &mut self,
        protocol: &mut Protocol,
        span: Span,
    ) -> Parsed<()> {
        let lexeme = self.next();
        let word = match &lexeme.token {
            Token::Keyword(k) => (*k).to_owned(),
            Token::Word(w) => w.clone(),
            _ => return self.unexpected(&lexeme, "'http', 'tcp' or 'dns'"),
        };
        protocol.kind = self.protocol_kind(&word, lexeme.span)?;
        self.old.url_is_query = true;
        let now = format!("{word} protocol \"{}\"", protocol.name);
        self.ancient(span, "type inside the block", &now);
        self.end_of_line()
    }

    /// `label "…"` at the start of a line; `label` was read.
    pub(in crate::grammar) fn old_label(&mut self, span: Span) -> Parsed<()> {
        let (text, _) = self.name("a label", limits::LABEL_MAX, "label truncated")?;
        self.ancient(
            span,
            "label on a line of its own",
            &format!("label \"{text}\" at the end of each rule it belongs to"),
        );
        self.old.label = Change::Set(text);
        self.end_of_line()
    }

    /// `no label` at the start of a line; `no` was read.
    pub(in crate::grammar) fn old_no_label(&mut self, span: Span) -> Parsed<()> {
        self.expect("label")?;
        self.ancient(span, "no label on a line of its own", "rules without label");
        self.old.label = Change::Keep;
        self.end_of_line()
    }

    /// Starts a protocol block: labels do not reach over its edge.
    pub(in crate::grammar) fn old_block(&mut self) {
        self.old.label = Change::Keep;
        self.old.url_is_query = false;
    }

    /// `[request|response] TYPE ACTION`
    pub(in crate::grammar) fn old_action(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        let start = self.peek().span;
        let direction = if self.accept("response") {
            Direction::Response
        } else {
            self.accept("request");
            Direction::Request
        };
        let kind = self.old_kind()?;
        let verb = self.old_verb()?;
        let mut key = Key {
            kind,
            op: match verb {
                Verb::Append => KeyOp::Append,
                Verb::Change => KeyOp::Set,
                Verb::Remove => KeyOp::Remove,
                Verb::Hash => KeyOp::Hash,
                Verb::Log => KeyOp::Log,
                Verb::Expect | Verb::Filter | Verb::Mark => KeyOp::Test,
            },
            pattern: Pattern::Any,
            value: None,
            lua: false,
        };
        self.old_arguments(verb, &mut key)?;
        let mut rule = self.old_rule(start, direction, key);
        rule.legacy = Some(match verb {
            Verb::Expect => Legacy::Expect,
            Verb::Filter => Legacy::Filter,
            Verb::Append => Legacy::Append,
            _ => Legacy::Other,
        });
        let log = self.old_suffixes(verb, &mut rule)?;
        let span = start.to(self.last_span);
        self.old_warning(span, verb, &rule);
        let useless = matches!(kind, KeyKind::Query | KeyKind::Url)
            && matches!(verb, Verb::Append | Verb::Change | Verb::Remove);
        if useless {
            return self.end_of_line();
        }
        let logged = log.then(|| self.old_log_rule(&rule));
        protocol.rules.push(rule);
        protocol.rules.extend(logged);
        self.end_of_line()
    }

    fn old_kind(&mut self) -> Parsed<KeyKind> {
        let lexeme = self.next();
        Ok(match &lexeme.token {
            Token::Keyword("header") => KeyKind::Header,
            Token::Keyword("cookie") => KeyKind::Cookie,
            Token::Keyword("path") => KeyKind::Path,
            Token::Keyword("query") => KeyKind::Query,
            Token::Keyword("url") if self.old.url_is_query => KeyKind::Query,
            Token::Keyword("url") => KeyKind::Url,
            _ => return self.unexpected(&lexeme, "header, cookie, path, query or url"),
        })
    }

    fn old_verb(&mut self) -> Parsed<Verb> {
        let lexeme = self.next();
        let word = match &lexeme.token {
            Token::Keyword(k) => *k,
            Token::Word(w) if !lexeme.quoted => w.as_str(),
            _ => "",
        };
        Ok(match word {
            "append" => Verb::Append,
            "change" => Verb::Change,
            "remove" => Verb::Remove,
            "expect" => Verb::Expect,
            "filter" => Verb::Filter,
            "hash" => Verb::Hash,
            "log" => Verb::Log,
            "mark" => Verb::Mark,
            _ => {
                return self.unexpected(
                    &lexeme,
                    "append, change, remove, expect, filter, hash, log or mark; a rule of today begins with pass, block or match",
                );
            }
        })
    }

    fn old_arguments(&mut self, verb: Verb, key: &mut Key) -> Parsed<()> {
        let span = self.peek().span;
        if matches!(verb, Verb::Expect | Verb::Filter) && self.accept("digest") {
            let hex = self.string("a digest in quotes")?;
            key.pattern = Pattern::Digest(self.digest(&hex, span)?);
            return Ok(());
        }
        if self.accept("file") {
            let path = self.string("a file name in quotes")?;
            key.pattern = self.key_file(path, span)?;
            return Ok(());
        }
        let first = self.any_string("a string in quotes")?;
        let (name, value) = match verb {
            Verb::Append => {
                self.expect("to")?;
                (self.any_string("the key in quotes")?, Some(first))
            }
            Verb::Change => {
                self.expect("to")?;
                (first, Some(self.any_string("the value in quotes")?))
            }
            Verb::Expect | Verb::Filter | Verb::Mark if self.accept("from") => {
                (self.any_string("the key in quotes")?, Some(first))
            }
            _ => (first, None),
        };
        key.pattern = Pattern::One(name);
        key.value = value;
        Ok(())
    }

    fn old_rule(&mut self, span: Span, direction: Direction, key: Key) -> Rule {
        Rule {
            line: self.lexer.sources.line(span),
            action: Action::Match,
            direction,
            quick: false,
            family: None,
            from: None,
            to: None,
            method: None,
            keys: vec![key],
            strip: None,
            forward: None,
            tag: Change::Keep,
            tagged: None,
            label: self.old.label.clone(),
            legacy: None,
        }
    }

    /// `with N`, `marked [N]`, `log`; answers whether the pair is to be logged, too.
    fn old_suffixes(&mut self, verb: Verb, rule: &mut Rule) -> Parsed<bool> {
        let mut log = false;
        let mut mark = None;
        loop {
            if verb == Verb::Mark && self.accept("with") {
                mark = Some(self.old_mark()?);
            } else if self.accept_word("marked") {
                let numbered = matches!(self.peek().token, Token::Number(_));
                let tag = if numbered {
                    self.old_mark()?
                } else {
                    "1".to_owned()
                };
                rule.tagged = Some(tag);
            } else if self.accept("log") {
                log = true;
            } else {
                break;
            }
        }
        if verb == Verb::Mark {
            // hoststated's mark was a flag without a number.
            rule.tag = Change::Set(mark.unwrap_or_else(|| "1".to_owned()));
        }
        Ok(log && verb != Verb::Log)
    }

    fn old_mark(&mut self) -> Parsed<String> {
        let n = self.ranged("a mark", "invalid mark", 1, 65535)?;
        Ok(n.to_string())
    }

    fn old_log_rule(&mut self, rule: &Rule) -> Rule {
        let mut log = rule.clone();
        log.legacy = Some(Legacy::Other);
        log.tag = Change::Keep;
        log.label = Change::Keep;
        for key in &mut log.keys {
            key.op = KeyOp::Log;
            key.value = None;
        }
        log
    }

    fn old_warning(&mut self, span: Span, verb: Verb, rule: &Rule) {
        let mut modern = rule.clone();
        modern.legacy = None;
        let mut now = match verb {
            Verb::Expect => {
                modern.label = Change::Keep;
                modern.action = Action::Pass;
                let direction = crate::dump::direction(rule.direction);
                format!("'block {direction}', then '{}'", crate::dump::rule(&modern))
            }
            Verb::Filter => {
                modern.action = Action::Block;
                modern.quick = true;
                format!("'{}'", crate::dump::rule(&modern))
            }
            _ => {
                modern.label = Change::Keep;
                format!("'{}'", crate::dump::rule(&modern))
            }
        };
        let query = rule.keys.first().map(|k| k.kind);
        if matches!(query, Some(KeyKind::Query | KeyKind::Url))
            && matches!(verb, Verb::Append | Verb::Change | Verb::Remove)
        {
            now = "nothing: this never had a use and is ignored".to_owned();
        }
        self.ancient(span, "filter action", &now);
    }
}
