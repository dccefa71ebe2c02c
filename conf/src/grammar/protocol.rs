//! `[tcp | http | dns | udp] protocol "name" { … }`
//! Owns the options of a protocol; its rules are in `rule`, its TLS options in `tls`.
//! Must never evaluate anything.

use super::{Parsed, Parser, Skip};
use crate::diagnostic::closest;
use crate::lexer::Token;
use crate::limits;
use crate::model::{Protocol, ProtocolId, ProtocolKind};
use crate::source::Span;
use std::time::Duration;

impl Parser<'_> {
    /// `protocol`, `tcp protocol`, `http protocol`; other types begin with a free word.
    pub(super) fn protocol(&mut self) -> Parsed<()> {
        let kind = if self.accept("http") {
            ProtocolKind::Http
        } else {
            self.accept("tcp");
            ProtocolKind::Tcp
        };
        self.protocol_block(kind)
    }

    pub(super) fn protocol_of_type(&mut self, word: &str, span: Span) -> Parsed<()> {
        // Read on as tcp: uses of its name would only repeat the complaint.
        let kind = self.protocol_kind(word, span).unwrap_or(ProtocolKind::Tcp);
        self.protocol_block(kind)
    }

    pub(super) fn protocol_kind(&mut self, word: &str, span: Span) -> Parsed<ProtocolKind> {
        match word {
            "tcp" => Ok(ProtocolKind::Tcp),
            "http" => Ok(ProtocolKind::Http),
            "dns" => Ok(ProtocolKind::Dns),
            "udp" => Ok(ProtocolKind::Udp),
            _ => {
                let cure = match closest(word, ["tcp", "http", "dns", "udp"].into_iter()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => "types are tcp, http, dns and udp".to_owned(),
                };
                self.error(span, &format!("invalid protocol type: {word}"), &cure)
            }
        }
    }

    fn protocol_block(&mut self, kind: ProtocolKind) -> Parsed<()> {
        self.expect("protocol")?;
        let (name, span) = self.name(
            "the protocol's name",
            limits::PROTOCOL_NAME_MAX,
            "protocol name truncated",
        )?;
        let text = format!("protocol {name} defined twice");
        let unique = if name == "default" {
            self.error(
                span,
                &text,
                "the name 'default' is that of the built-in protocol",
            )
        } else {
            self.unique("protocol", &name, span, &text)
        };
        let id = ProtocolId(u32::try_from(self.config.protocols.len()).unwrap_or(u32::MAX));
        let mut protocol = Protocol::new(id, &name, kind);
        self.old_block();
        self.finals = [None; 2];
        if self.peek().token == Token::Symbol('{') {
            self.block(|p| p.protocol_line(&mut protocol))?;
        } else {
            self.end_of_line()?;
        }
        if unique.is_ok() {
            self.protocol_ids.insert(name, id);
            self.config.protocols.push(protocol);
        }
        Ok(())
    }

    /// The protocol of that name, defined before.
    pub(super) fn protocol_named(&mut self, name: &str, span: Span) -> Parsed<ProtocolId> {
        if let Some(id) = self.protocol_ids.get(name) {
            return Ok(*id);
        }
        let near = closest(name, self.config.protocols.iter().map(|p| p.name.as_str()));
        let cure = match near.filter(|_| !self.lexer.diagnostics.full()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("define it before: protocol \"{name}\" {{ … }}"),
        };
        self.error(span, &format!("no such protocol: {name}"), &cure)
    }

    fn protocol_line(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        let lexeme = self.peek().clone();
        match &lexeme.token {
            Token::Keyword("pass" | "block" | "match") => return self.rule(protocol),
            Token::Keyword(
                "header" | "cookie" | "path" | "query" | "url" | "request" | "response",
            ) => return self.old_action(protocol),
            _ => {}
        }
        self.next();
        match &lexeme.token {
            Token::Keyword("tcp") => self.tcp_line(protocol, lexeme.span)?,
            Token::Keyword("http") => self.http_line(protocol, lexeme.span)?,
            Token::Keyword("tls") => self.tls_line(protocol, lexeme.span)?,
            Token::Keyword("return") => {
                self.expect("error")?;
                protocol.return_error = true;
                self.return_style(protocol)?;
            }
            Token::Keyword("label") => return self.old_label(lexeme.span),
            Token::Keyword("no") => return self.old_no_label(lexeme.span),
            Token::Keyword("protocol") => return self.old_protocol_type(protocol, lexeme.span),
            Token::Word(w) if w == "ssl" => self.old_ssl_line(protocol, lexeme.span)?,
            _ => {
                return self.unexpected(
                    &lexeme,
                    "a rule (pass, block, match) or an option (tcp, http, tls, return error)",
                );
            }
        }
        self.end_of_line()
    }

    fn tcp_line(&mut self, protocol: &mut Protocol, span: Span) -> Parsed<()> {
        let message = "can set tcp options only for tcp or http protocols";
        match protocol.kind {
            ProtocolKind::Tcp | ProtocolKind::Http => self.options(protocol, Self::tcp_option),
            // Accepted up to 6.6, and without effect even then.
            ProtocolKind::Dns => {
                self.options(&mut protocol.clone(), Self::tcp_option)?;
                let cure = "UDP has none of these options; the line is ignored";
                self.old(span.to(self.last_span), message, cure);
                Ok(())
            }
            ProtocolKind::Udp => self.error(span, message, "remove this line"),
        }
    }

    fn http_line(&mut self, protocol: &mut Protocol, span: Span) -> Parsed<()> {
        if protocol.kind != ProtocolKind::Http {
            return self.error(
                span,
                "can set http options only for http protocol",
                "write 'http protocol'",
            );
        }
        self.options(protocol, Self::http_option)
    }

    fn tls_line(&mut self, protocol: &mut Protocol, span: Span) -> Parsed<()> {
        if protocol.kind.datagrams() {
            return self.error(
                span,
                "can set tls options only for tcp or http protocols",
                "remove this line",
            );
        }
        self.tls_spans.entry(protocol.id).or_insert(span);
        self.options(protocol, Self::tls_option)?;
        self.tls_consistent(protocol, span)
    }

    /// `ssl …`: the word of before 5.7.
    fn old_ssl_line(&mut self, protocol: &mut Protocol, span: Span) -> Parsed<()> {
        self.old(span, "ssl", "tls");
        self.tls_spans.entry(protocol.id).or_insert(span);
        self.in_ssl = true;
        let options = self.options(protocol, Self::tls_option);
        self.in_ssl = false;
        options?;
        self.tls_consistent(protocol, span)
    }

    fn return_style(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        if self.accept_symbol('{') {
            self.skip_newlines();
            while !self.accept_symbol('}') {
                self.expect("style")?;
                protocol.style = Some(self.string("a style sheet in quotes")?);
                self.accept_symbol(',');
                self.skip_newlines();
            }
        } else if self.accept("style") {
            protocol.style = Some(self.string("a style sheet in quotes")?);
        }
        Ok(())
    }

    /// One option, or several in braces separated by comma, newline or nothing.
    fn options(
        &mut self,
        protocol: &mut Protocol,
        option: fn(&mut Self, &mut Protocol) -> Parsed<()>,
    ) -> Parsed<()> {
        let open = self.peek().span;
        if !self.accept_symbol('{') {
            option(self, protocol)?;
            while !matches!(
                self.peek().token,
                Token::Newline | Token::End | Token::Symbol('}')
            ) {
                self.accept_symbol(',');
                option(self, protocol)?;
            }
            return Ok(());
        }
        let mut good = true;
        loop {
            match self.peek().token {
                Token::Newline | Token::Symbol(',') => {
                    self.next();
                }
                Token::Symbol('}') => {
                    self.next();
                    return if good { Ok(()) } else { Err(Skip) };
                }
                Token::End => {
                    return self.error(open, "syntax error", "this block is never closed with '}'");
                }
                _ => {
                    if option(self, protocol).is_err() {
                        good = false;
                        while !matches!(
                            self.peek().token,
                            Token::Newline | Token::Symbol(',' | '}') | Token::End
                        ) {
                            self.next();
                        }
                    }
                }
            }
        }
    }

    fn tcp_option(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        let no = self.accept("no");
        let lexeme = self.next();
        let tcp = &mut protocol.tcp;
        match &lexeme.token {
            Token::Keyword("nodelay") => tcp.nodelay = Some(!no),
            Token::Keyword("sack") => tcp.sack = Some(!no),
            Token::Keyword("splice") => tcp.splice = !no,
            Token::Keyword("backlog") if !no => {
                protocol.tcp.backlog = self.backlog()?;
            }
            Token::Keyword("socket") if !no => {
                self.expect("buffer")?;
                let n = self.ranged("'socket buffer' in bytes", "invalid socket buffer size", 0, i64::from(i32::MAX))?;
                protocol.tcp.socket_buffer = u32::try_from(n).ok();
            }
            Token::Keyword("ip") if !no => {
                let word = self.next();
                match &word.token {
                    // The original accepts 'ip ttl' only in its manual: 'ttl' is a reserved word there, too.
                    Token::Keyword("ttl") => {
                        return self.error(word.span, "syntax error", "quote it: tcp ip \"ttl\" N");
                    }
                    Token::Word(w) if w == "ttl" => {
                        let n = self.ranged("'ip ttl'", "invalid ttl", 0, 255)?;
                        protocol.tcp.ip_ttl = u8::try_from(n).ok();
                    }
                    Token::Word(w) if w == "minttl" => {
                        let n = self.ranged("'ip minttl'", "invalid ttl", 0, 255)?;
                        protocol.tcp.ip_minttl = u8::try_from(n).ok();
                    }
                    Token::Word(w) => {
                        return self.error(word.span, &format!("invalid TCP/IP flag: {w}"), "'ip ttl N' or 'ip minttl N'");
                    }
                    _ => return self.unexpected(&word, "'ttl' or 'minttl'"),
                }
            }
            _ => return self.unexpected(&lexeme, "a tcp option: backlog, [no] nodelay, [no] sack, [no] splice, socket buffer, ip ttl, ip minttl"),
        }
        Ok(())
    }

    fn backlog(&mut self) -> Parsed<u32> {
        let (n, span) = self.number("'backlog'")?;
        match u32::try_from(n) {
            Ok(n) if n <= limits::BACKLOG_MAX => Ok(n),
            Ok(n) if n <= limits::BACKLOG_OLD_MAX => {
                let max = limits::BACKLOG_MAX;
                self.old(
                    span,
                    &format!("backlog {n}"),
                    &format!("backlog {max}, the most there is"),
                );
                Ok(max)
            }
            _ => self.error(span, &format!("invalid backlog: {n}"), "0 to 512"),
        }
    }

    fn http_option(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        let no = self.accept("no");
        let lexeme = self.next();
        match &lexeme.token {
            Token::Keyword("websockets") => protocol.http.websockets = !no,
            Token::Keyword("headerlen") if !no => {
                let n = self.ranged(
                    "'headerlen' in bytes",
                    "invalid headerlen",
                    0,
                    i64::from(limits::HEADER_LENGTH_MAX),
                )?;
                protocol.http.header_length = u32::try_from(n).unwrap_or(0);
            }
            Token::Word(w) if w == "pool" => protocol.http.pool = !no,
            Token::Keyword("forward") => {
                if !self.accept_word("body") {
                    let lexeme = self.next();
                    return self.unexpected(&lexeme, "'body'");
                }
                protocol.http.forward_body = !no;
            }
            Token::Word(w) if w == "head" && !no => {
                self.expect("timeout")?;
                protocol.http.head_timeout = self.client_timeout("'head timeout' in seconds")?;
            }
            Token::Word(w) if w == "body" && !no => {
                if self.accept_word("rate") {
                    let max = limits::BODY_RATE_MAX;
                    let n =
                        self.ranged("'body rate' in bytes per second", "invalid rate", 0, max)?;
                    protocol.http.body_rate = u32::try_from(n).unwrap_or(0);
                } else {
                    self.expect("timeout")?;
                    protocol.http.body_timeout =
                        self.client_timeout("'body timeout' in seconds")?;
                }
            }
            _ => return self.unexpected(&lexeme, "an http option: headerlen, [no] websockets, [no] pool, [no] forward body, head timeout, body timeout, body rate"),
        }
        Ok(())
    }

    fn client_timeout(&mut self, what: &str) -> Parsed<Duration> {
        let n = self.ranged(what, "invalid timeout", 1, limits::CLIENT_TIMEOUT_MAX)?;
        Ok(Duration::from_secs(n.unsigned_abs()))
    }
}
