//! The statements of relayd.conf: tokens in, model out.
//! Owns the parser's state, error recovery and what all statements share.
//! Must never look at the raw text: that is the lexer.

mod access;
mod address;
mod advice;
mod check;
mod choice;
mod global;
mod legacy;
mod listener;
mod protocol;
mod recovery;
mod redirect;
mod reference;
mod relay;
mod router;
mod rule;
mod sharing;
mod table;
mod tls;
mod token;
mod validate;

use crate::diagnostic::{Diagnostic, closest};
use crate::lexer::{Lexeme, Lexer, Token};
use crate::limits;
use crate::model::{Config, Protocol, ProtocolId, ProtocolKind};
use crate::resolver::Resolver;
use crate::source::Span;
use std::collections::{HashMap, HashSet};
use table::Template;

/// The message was given; the rest of the statement is skipped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skip;

pub(crate) type Parsed<T> = Result<T, Skip>;

/// Words that begin a statement outside every block.
const STATEMENTS: &[&str] = &[
    "agentx", "dns", "http", "include", "interval", "log", "prefork", "protocol", "redirect",
    "relay", "router", "socket", "table", "tcp", "timeout", "udp",
];

pub(crate) struct Parser<'a> {
    pub(crate) lexer: Lexer<'a>,
    pub(crate) resolver: &'a dyn Resolver,
    pub(crate) config: Config,
    templates: HashMap<String, Template>,
    /// Definition of each named object, for "defined twice".
    names: HashMap<(&'static str, String), Span>,
    /// Address, port and whether UDP: a TCP relay may stand beside a DNS relay on one port.
    listeners: HashSet<(crate::model::Address, u16, bool)>,
    used_protocols: HashSet<ProtocolId>,
    protocol_ids: HashMap<String, ProtocolId>,
    /// A rule before set a tag, a label.
    tagged: bool,
    labelled: bool,
    /// Table intervals, compared with the global one at the end.
    intervals: Vec<(u64, Span)>,
    next_host: u32,
    next_route: u32,
    /// Where the block of each relay ends.
    pub(crate) relay_ends: Vec<Span>,
    /// Instances by name, for sharing.
    instances: HashMap<String, Vec<usize>>,
    /// First TLS statement of each protocol.
    tls_spans: HashMap<ProtocolId, Span>,
    /// `forward to` of rules: protocol, rule, place.
    rule_tables: Vec<(ProtocolId, usize, Span)>,
    /// The rule after which no other of its direction is reached: request, response.
    finals: [Option<u32>; 2],
    /// Index of the rule being read.
    rule_number: usize,
    /// Older statements met so far.
    pub(crate) old: legacy::Old,
    /// `prefork` was written.
    prefork_set: bool,
    /// Inside `ssl { … }`.
    in_ssl: bool,
    /// `\n` and `\r` in `send` stand for the bytes (hoststated, `send escaped`).
    escaped_send: bool,
    /// Objects that were begun, faulty or not.
    begun: usize,
    current: Lexeme,
    /// A token was looked at and waits in `current`.
    ahead: bool,
    last_span: Span,
    /// The brace that closed the last block: where the original reports faults of a whole block.
    close: Span,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(lexer: Lexer<'a>, resolver: &'a dyn Resolver) -> Self {
        let config = Config {
            protocols: vec![Protocol::new(ProtocolId(0), "default", ProtocolKind::Tcp)],
            ..Config::default()
        };
        Parser {
            lexer,
            resolver,
            config,
            templates: HashMap::new(),
            names: HashMap::new(),
            listeners: HashSet::new(),
            used_protocols: HashSet::new(),
            protocol_ids: HashMap::from([("default".to_owned(), ProtocolId(0))]),
            tagged: false,
            labelled: false,
            intervals: Vec::new(),
            next_host: 1,
            next_route: 1,
            relay_ends: Vec::new(),
            instances: HashMap::new(),
            tls_spans: HashMap::new(),
            rule_tables: Vec::new(),
            finals: [None; 2],
            rule_number: 0,
            old: legacy::Old::default(),
            prefork_set: false,
            in_ssl: false,
            escaped_send: false,
            begun: 0,
            current: Lexeme {
                token: Token::Newline,
                span: Span::default(),
                quoted: false,
            },
            ahead: false,
            last_span: Span::default(),
            close: Span::default(),
        }
    }

    /// Parses everything. Never stops early: every statement gets its chance.
    pub(crate) fn file(&mut self) {
        loop {
            match self.peek().token {
                Token::End => break,
                Token::Newline => {
                    self.next();
                }
                _ => {
                    if self.statement().is_err() {
                        self.skip_line();
                    }
                }
            }
        }
        self.validate();
    }

    fn statement(&mut self) -> Parsed<()> {
        let lexeme = self.peek().clone();
        match &lexeme.token {
            Token::Keyword("include") => {
                self.next();
                self.include()
            }
            Token::Keyword("table") => self.table(),
            Token::Keyword("redirect") => self.redirect(),
            Token::Keyword("relay") => self.relay(),
            Token::Keyword("router") => self.router(),
            Token::Keyword("protocol" | "http" | "tcp") => self.protocol(),
            Token::Keyword("interval" | "timeout" | "prefork" | "log" | "socket" | "agentx") => {
                self.global()
            }
            Token::Keyword("send") => {
                self.next();
                self.old_send_trap(lexeme.span)
            }
            Token::Keyword("demote") => {
                self.next();
                self.old_demote(lexeme.span)
            }
            Token::Word(name) => {
                self.next();
                self.word_statement(name, &lexeme)
            }
            _ => {
                let lexeme = self.next();
                self.unexpected(&lexeme, "a statement")
            }
        }
    }

    /// A statement that begins with a word that is not reserved: a macro, a type of protocol, an older statement.
    fn word_statement(&mut self, name: &str, lexeme: &Lexeme) -> Parsed<()> {
        if matches!(self.peek().token, Token::Symbol('=')) {
            return self.macro_definition(name.to_owned(), lexeme);
        }
        if lexeme.quoted {
            return self.unknown_statement(name, lexeme.span);
        }
        match name {
            _ if matches!(self.peek().token, Token::Keyword("protocol")) => {
                self.protocol_of_type(name, lexeme.span)
            }
            "snmp" => self.old_snmp(lexeme.span),
            "legacy" => self.legacy_global(),
            "service" if matches!(self.peek().token, Token::Word(_) | Token::Keyword(_)) => {
                self.old_service(lexeme.span)
            }
            _ => self.unknown_statement(name, lexeme.span),
        }
    }

    fn unknown_statement<T>(&mut self, word: &str, span: Span) -> Parsed<T> {
        let cure = match closest(word, STATEMENTS.iter().copied()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("'{word}' begins no statement; a macro is written {word}=\"value\""),
        };
        self.fail(Diagnostic::error(span, "syntax error").cure(cure))
    }

    fn macro_definition(&mut self, name: String, lexeme: &Lexeme) -> Parsed<()> {
        self.next();
        if name.contains(|c: char| c.is_whitespace()) {
            return self.error(
                lexeme.span,
                "macro name cannot contain whitespace",
                "choose a name of letters, digits and _",
            );
        }
        let value = self.next();
        match value.token {
            Token::Word(text) => {
                self.lexer.define(name, text, lexeme.span.to(value.span));
                self.end_of_line()
            }
            // Numbers were strings in hoststated.
            Token::Number(n) => {
                let now = format!("{name}=\"{n}\"");
                self.old(value.span, "a number without quotes as a macro", &now);
                self.lexer
                    .define(name, n.to_string(), lexeme.span.to(value.span));
                self.end_of_line()
            }
            _ => self.unexpected(&value, "the macro's value (a string)"),
        }
    }

    pub(crate) fn include(&mut self) -> Parsed<()> {
        let span = self.peek().span;
        let path = self.string("the file's path in quotes")?;
        self.end_of_line()?;
        self.lexer.include(&path, span);
        Ok(())
    }
}

/// Whether a token is that unreserved word.
pub(crate) fn is_word(lexeme: &Lexeme, word: &str) -> bool {
    !lexeme.quoted && matches!(&lexeme.token, Token::Word(w) if w == word)
}

/// The last port a name may be written for.
pub(crate) const PORT_MAX: i64 = 65535;

impl Parser<'_> {
    /// Seconds of a `session timeout`.
    pub(crate) fn session_timeout(&mut self) -> Parsed<std::time::Duration> {
        self.expect("timeout")?;
        let (n, span) = self.number("the session timeout in seconds")?;
        if n < 0 {
            return self.error(span, &format!("invalid timeout: {n}"), "seconds, 0 or more");
        }
        if n.unsigned_abs() > limits::SESSION_TIMEOUT_MAX {
            return self.error(
                span,
                &format!("timeout too large: {n}"),
                &format!("at most {} seconds", limits::SESSION_TIMEOUT_MAX),
            );
        }
        Ok(std::time::Duration::from_secs(n.unsigned_abs()))
    }
}
