//! Options that were renamed or dropped: `ssl`, `ecdh`, `session cache`.
//! Owns what is left of them.
//! Must never weaken TLS: old versions are accepted as words only.

use super::super::{Parsed, Parser};
use crate::lexer::Token;
use crate::model::Protocol;
use crate::source::Span;

impl Parser<'_> {
    /// The word `ssl` where today `tls` stands.
    pub(in crate::grammar) fn accept_ssl(&mut self, was: &str, now: &str) -> bool {
        let span = self.peek().span;
        let found = self.accept_word("ssl");
        if found {
            self.old(span, was, now);
        }
        found
    }

    /// `tls`, or `ssl` of before 5.7.
    pub(in crate::grammar) fn accept_tls(&mut self) -> bool {
        self.accept("tls") || self.accept_ssl("ssl", "tls")
    }

    /// `session cache N|disable`; `session` was read.
    pub(in crate::grammar) fn old_session_cache(&mut self, span: Span) -> Parsed<()> {
        self.expect("cache")?;
        if !self.accept("disable") {
            self.number("a number of sessions")?;
        }
        self.old(
            span,
            "session cache",
            "'[no] session tickets'; this is ignored",
        );
        Ok(())
    }

    /// Words that only older releases knew; answers whether `word` was one.
    pub(in crate::grammar) fn old_tls_word(
        &mut self,
        protocol: &mut Protocol,
        word: &str,
        no: bool,
        span: Span,
    ) -> Parsed<bool> {
        match word {
            "sslv2" => {
                self.old(
                    span,
                    "sslv2",
                    "TLS 1.2 and 1.3 are what remains; this is ignored",
                );
            }
            "ecdh" => {
                let curve = if !no && self.accept_word("curve") {
                    self.string("a curve")?
                } else {
                    String::new()
                };
                let known = curve.is_empty() || self.curves(&curve, span).is_ok();
                if known && !curve.is_empty() {
                    protocol.tls.ecdhe = curve;
                }
                self.old(span, "ecdh", "'ecdhe CURVES'");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `edh params N` of before 5.6 (bits); `params` was read. Answers the modern word.
    pub(in crate::grammar) fn old_edh_params(&mut self) -> Option<String> {
        let lexeme = self.peek().clone();
        // Only within 'ssl': today's grammar refuses a number here.
        if !self.in_ssl || !matches!(lexeme.token, Token::Number(_)) {
            return None;
        }
        self.next();
        self.old(lexeme.span, "edh params BITS", "'edh params auto'");
        Some("auto".to_owned())
    }
}
