//! The statements of relayd.conf: tokens in, model out.
//! Owns the parser's state, error recovery and what all statements share.
//! Must never look at the raw text: that is the lexer.

mod address;
mod advice;
mod check;
mod global;
mod legacy;
mod protocol;
mod redirect;
mod relay;
mod router;
mod rule;
mod table;
mod tls;

use crate::diagnostic::{Diagnostic, closest};
use crate::keywords;
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
    protocol_spans: Vec<Span>,
    protocol_ids: HashMap<String, ProtocolId>,
    tags: HashSet<String>,
    labels: HashSet<String>,
    /// Table intervals, compared with the global one at the end.
    intervals: Vec<(u64, Span)>,
    next_host: u32,
    next_route: u32,
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
            protocol_spans: vec![Span::default()],
            protocol_ids: HashMap::from([("default".to_owned(), ProtocolId(0))]),
            tags: HashSet::new(),
            labels: HashSet::new(),
            intervals: Vec::new(),
            next_host: 1,
            next_route: 1,
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
                let name = name.clone();
                self.next();
                if matches!(self.peek().token, Token::Symbol('=')) {
                    return self.macro_definition(name, &lexeme);
                }
                if matches!(self.peek().token, Token::Keyword("protocol")) && !lexeme.quoted {
                    return self.protocol_of_type(&name, lexeme.span);
                }
                if name == "snmp" && !lexeme.quoted {
                    return self.old_snmp(lexeme.span);
                }
                if name == "service"
                    && matches!(self.peek().token, Token::Word(_) | Token::Keyword(_))
                {
                    return self.old_service(lexeme.span);
                }
                self.unknown_statement(&name, lexeme.span)
            }
            _ => {
                let lexeme = self.next();
                self.unexpected(&lexeme, "a statement")
            }
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

    // ---- tokens

    pub(crate) fn peek(&mut self) -> &Lexeme {
        if !self.ahead {
            self.current = self.lexer.token();
            self.ahead = true;
        }
        &self.current
    }

    pub(crate) fn next(&mut self) -> Lexeme {
        if !self.ahead {
            self.current = self.lexer.token();
        }
        self.ahead = false;
        self.last_span = self.current.span;
        self.current.clone()
    }

    /// Takes the keyword if it comes next.
    pub(crate) fn accept(&mut self, keyword: &str) -> bool {
        let found = matches!(&self.peek().token, Token::Keyword(k) if *k == keyword);
        if found {
            self.next();
        }
        found
    }

    /// Takes an unreserved word if it comes next.
    pub(crate) fn accept_word(&mut self, word: &str) -> bool {
        let lexeme = self.peek();
        let found = !lexeme.quoted && matches!(&lexeme.token, Token::Word(w) if w == word);
        if found {
            self.next();
        }
        found
    }

    pub(crate) fn accept_symbol(&mut self, symbol: char) -> bool {
        let found = self.peek().token == Token::Symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    pub(crate) fn expect(&mut self, keyword: &'static str) -> Parsed<()> {
        if self.accept(keyword) {
            return Ok(());
        }
        let lexeme = self.next();
        self.unexpected(&lexeme, &format!("'{keyword}'"))
    }

    /// A string; a reserved word must be quoted to be one.
    pub(crate) fn string(&mut self, what: &str) -> Parsed<String> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Word(text) if lexeme.quoted => Ok(text),
            Token::Word(text) => Ok(self.glued(text, lexeme.span)),
            // Paths needed no quotes up to 4.6.
            Token::Symbol('/') => Ok(self.glued("/".to_owned(), lexeme.span)),
            Token::Keyword(k) => self.error(
                lexeme.span,
                "syntax error",
                &format!("'{k}' is a reserved word: quote it to use it as {what}"),
            ),
            _ => self.unexpected(&lexeme, what),
        }
    }

    /// A word that goes on with a slash: slashes needed no quotes up to 4.6.
    fn glued(&mut self, mut text: String, span: Span) -> String {
        if self.ahead || !(text == "/" || self.lexer.slash_ahead()) {
            return text;
        }
        self.lexer.glue(&mut text);
        self.last_span = span;
        self.old(span, "a path without quotes", &format!("\"{text}\""));
        text
    }

    pub(crate) fn number(&mut self, what: &str) -> Parsed<(i64, Span)> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Number(n) => Ok((n, lexeme.span)),
            _ => self.unexpected(&lexeme, what),
        }
    }

    /// A number in a range; `message` is the original's text, the number is appended to it.
    pub(crate) fn ranged(&mut self, what: &str, message: &str, min: i64, max: i64) -> Parsed<i64> {
        let (n, span) = self.number(what)?;
        if n < min || n > max {
            return self.error(
                span,
                &format!("{message}: {n}"),
                &format!("{what} is a number from {min} to {max}"),
            );
        }
        Ok(n)
    }

    pub(crate) fn skip_newlines(&mut self) {
        while self.peek().token == Token::Newline {
            self.next();
        }
    }

    pub(crate) fn end_of_line(&mut self) -> Parsed<()> {
        match self.peek().token {
            Token::Newline => {
                self.next();
                Ok(())
            }
            Token::End | Token::Symbol('}') => Ok(()),
            _ => {
                let lexeme = self.next();
                self.unexpected(&lexeme, "the end of the line")
            }
        }
    }

    // ---- errors

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.lexer.diagnostics.push(diagnostic);
    }

    pub(crate) fn fail<T>(&mut self, diagnostic: Diagnostic) -> Parsed<T> {
        self.report(diagnostic);
        Err(Skip)
    }

    pub(crate) fn error<T>(&mut self, span: Span, text: &str, cure: &str) -> Parsed<T> {
        self.fail(Diagnostic::error(span, text).cure(cure))
    }

    /// `syntax error` at a token that does not belong here.
    pub(crate) fn unexpected<T>(&mut self, lexeme: &Lexeme, wanted: &str) -> Parsed<T> {
        // A token the lexer refused: its own message comes first, and the original adds this one.
        let found = match &lexeme.token {
            Token::Keyword(k) => format!("'{k}'"),
            Token::Word(w) => format!("\"{}\"", w.chars().take(40).collect::<String>()),
            Token::Number(n) => n.to_string(),
            Token::Symbol(c) => format!("'{c}'"),
            Token::Newline => "the end of the line".to_owned(),
            Token::End => "the end of the file".to_owned(),
            Token::Bad => return Err(Skip),
        };
        self.unread(lexeme);
        let near = match &lexeme.token {
            Token::Word(w) if !lexeme.quoted => closest(w, keywords::KEYWORDS.iter().copied()),
            _ => None,
        };
        let near = near.map_or(String::new(), |n| format!("; did you mean '{n}'?"));
        self.error(
            lexeme.span,
            "syntax error",
            &format!("expected {wanted}, found {found}{near}"),
        )
    }

    /// A newline or brace that ended a statement too early still ends it.
    fn unread(&mut self, lexeme: &Lexeme) {
        if !self.ahead
            && matches!(
                lexeme.token,
                Token::Newline | Token::Symbol('{' | '}') | Token::End
            )
        {
            self.current = lexeme.clone();
            self.ahead = true;
        }
    }

    /// Skips to the end of the statement; a block opened on the way is skipped whole.
    pub(crate) fn skip_line(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.peek().token {
                Token::End => return,
                Token::Newline if depth == 0 => {
                    self.next();
                    return;
                }
                Token::Symbol('{') => depth += 1,
                Token::Symbol('}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.next();
        }
    }

    /// The same inside a block: stops before the brace that closes it.
    fn skip_in_block(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.peek().token {
                Token::End => return,
                Token::Newline if depth == 0 => {
                    self.next();
                    return;
                }
                Token::Symbol('{') => depth += 1,
                Token::Symbol('}') if depth == 0 => return,
                Token::Symbol('}') => depth -= 1,
                _ => {}
            }
            self.next();
        }
    }

    /// `{ … }` with one statement a line; faulty lines are reported and skipped.
    /// Answers whether all lines were good.
    pub(crate) fn block(&mut self, mut line: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<bool> {
        let open = self.peek().span;
        if !self.accept_symbol('{') {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'{' on the same line");
        }
        let mut good = true;
        loop {
            self.skip_newlines();
            match self.peek().token {
                Token::Symbol('}') => {
                    self.close = self.next().span;
                    break;
                }
                Token::End => {
                    return self.error(open, "syntax error", "this block is never closed with '}'");
                }
                Token::Keyword("include") => {
                    self.next();
                    if self.include().is_err() {
                        self.skip_in_block();
                    }
                }
                _ => {
                    if line(self).is_err() {
                        good = false;
                        self.skip_in_block();
                    }
                }
            }
        }
        self.end_of_line()?;
        Ok(good)
    }

    /// A name below a length; `message` is what the original says otherwise.
    pub(crate) fn name(&mut self, what: &str, max: usize, message: &str) -> Parsed<(String, Span)> {
        let span = self.peek().span;
        let name = self.string(what)?;
        if name.len() > max {
            return self.error(
                span,
                &message.replace("%s", &name),
                &format!("at most {max} characters"),
            );
        }
        Ok((name, span))
    }

    /// Refuses a second object of a kind with the same name.
    pub(crate) fn unique(
        &mut self,
        kind: &'static str,
        name: &str,
        span: Span,
        message: &str,
    ) -> Parsed<()> {
        self.unique_at(kind, name, span, span, message)
    }

    /// The same, reported at another place than the name.
    pub(crate) fn unique_at(
        &mut self,
        kind: &'static str,
        name: &str,
        span: Span,
        report: Span,
        message: &str,
    ) -> Parsed<()> {
        if let Some(first) = self.names.get(&(kind, name.to_owned())) {
            let cure = match self.lexer.sources.place(*first) {
                Some((path, line)) => format!(
                    "the first one is at {}:{line}; rename one of them",
                    path.display()
                ),
                None => "rename one of them".to_owned(),
            };
            return self.error(report, message, &cure);
        }
        self.names.insert((kind, name.to_owned()), span);
        Ok(())
    }

    // ---- checks over the whole file

    /// Tables take the global timeout and interval wherever those stand in the file.
    fn inherit_globals(&mut self) {
        let (interval, timeout) = (self.config.globals.interval, self.config.globals.timeout);
        for table in &mut self.config.tables {
            if table.timeout == std::time::Duration::MAX {
                table.timeout = timeout;
            }
            if table.interval == std::time::Duration::MAX {
                table.interval = interval;
            }
        }
        let global = interval.as_secs();
        for (seconds, span) in std::mem::take(&mut self.intervals) {
            if global == 0 || seconds < global || seconds % global != 0 {
                self.report(
                    Diagnostic::error(span, "table interval must be divisible by global interval")
                        .cure(format!("write a multiple of {global}, the global interval")),
                );
            }
        }
    }

    fn validate(&mut self) {
        let failed = self.lexer.diagnostics.failed();
        self.old_prefork();
        self.inherit_globals();
        self.share_equal_tables();
        self.advise();
        let parents = self.parent_faults();
        let config = &self.config;
        let mut found = Vec::new();
        if config.redirects.is_empty()
            && config.relays.is_empty()
            && config.routers.is_empty()
            && self.begun == 0
            && !failed
        {
            found.push(
                Diagnostic::unplaced("no actions, nothing to do")
                    .cure("write at least one redirect, relay or router"),
            );
        }
        if config.globals.timeout >= config.globals.interval {
            found.push(
                Diagnostic::unplaced("global timeout exceeds interval")
                    .cure("'timeout' (milliseconds) must be shorter than 'interval' (seconds)"),
            );
        }
        found.extend(parents);
        for table in &config.tables {
            if table.timeout >= config.globals.interval {
                found.push(
                    Diagnostic::unplaced(format!("table timeout exceeds interval: {}", table.name))
                        .cure("'timeout' (milliseconds) must be shorter than 'interval' (seconds)"),
                );
            }
        }
        for protocol in config.protocols.iter().skip(1) {
            if !self.used_protocols.contains(&protocol.id) {
                found.push(Diagnostic {
                    severity: crate::diagnostic::Severity::Warning,
                    ..Diagnostic::unplaced(format!("unused protocol: {}", protocol.name))
                });
            }
        }
        for diagnostic in found {
            self.report(diagnostic);
        }
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
