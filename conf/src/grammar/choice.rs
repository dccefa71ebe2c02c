//! Options after `forward to <table>` that only relays have: slow start, queue, sticky cookie.
//! Owns their words, all of them extensions.
//! Must never take a word that the original takes for something else.

use super::reference::Reference;
use super::{Parsed, Parser};
use crate::diagnostic::Diagnostic;
use crate::lexer::Token;
use crate::limits;
use crate::model::{Cookie, Queue};
use std::time::Duration;

impl Parser<'_> {
    /// `start SECONDS`
    pub(super) fn slow_start(&mut self, reference: &mut Reference) -> Parsed<()> {
        if !self.accept_word("start") {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'start'");
        }
        let max = limits::SLOW_START_MAX;
        let seconds = self.ranged("'slow start'", "invalid slow start", 1, max)?;
        reference.slow_start = Some(Duration::from_secs(seconds.unsigned_abs()));
        Ok(())
    }

    /// `LENGTH [wait SECONDS]`
    pub(super) fn queue(&mut self, reference: &mut Reference) -> Parsed<()> {
        let length = self.ranged("'queue'", "invalid queue", 1, limits::QUEUE_MAX)?;
        let wait = if self.accept_word("wait") {
            let max = limits::QUEUE_WAIT_MAX;
            let seconds = self.ranged("'wait'", "invalid wait", 1, max)?;
            Duration::from_secs(seconds.unsigned_abs())
        } else {
            limits::QUEUE_WAIT_DEFAULT
        };
        reference.queue = Some(Queue {
            length: u32::try_from(length).unwrap_or(u32::MAX),
            wait,
        });
        Ok(())
    }

    /// `cookie "NAME" ["KEY"]`
    pub(super) fn sticky(&mut self, reference: &mut Reference) -> Parsed<()> {
        self.expect("cookie")?;
        let span = self.peek().span;
        let name = self.string("the cookie's name")?;
        if name.is_empty() || name.len() > limits::COOKIE_NAME_MAX || !name.bytes().all(token) {
            return self.error(
                span,
                &format!("invalid cookie name: {name}"),
                &format!(
                    "1 to {} letters, digits and -_.!#$%&'*+^`|~",
                    limits::COOKIE_NAME_MAX
                ),
            );
        }
        let lexeme = self.peek().clone();
        let key = match lexeme.token {
            Token::Word(text) if lexeme.quoted => {
                self.next();
                Some(self.hash_key(&text, lexeme.span)?)
            }
            _ => None,
        };
        reference.cookie = Some(Cookie { name, key });
        Ok(())
    }

    /// After a mode stands its key, unless the words can only be one of these options; `word` was read already.
    pub(super) fn option_not_key(&mut self, word: &str, reference: &mut Reference) -> Parsed<bool> {
        match (word, &self.peek().token) {
            ("slow", Token::Word(next)) if next == "start" => self.slow_start(reference)?,
            ("queue", Token::Number(_)) => self.queue(reference)?,
            ("sticky", Token::Keyword("cookie")) => self.sticky(reference)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// These options in a redirect or router: packets are not held back, and carry no cookies.
    pub(super) fn for_relays_only(&mut self, reference: &mut Reference) -> Parsed<()> {
        if reference.cookie.is_some() {
            return self.error(
                reference.span,
                "sticky cookie not supported here",
                "cookies are read by relays with an http protocol; redirects know sticky-address",
            );
        }
        let slow = reference.slow_start.take().map(|_| "slow start");
        let queue = reference.queue.take().map(|_| "queue");
        for option in [slow, queue].into_iter().flatten() {
            let text = format!("warning: '{option}' has no effect here");
            let cure = "only relays choose a host for each session";
            self.report(Diagnostic::warning(reference.span, text).cure(cure));
        }
        Ok(())
    }
}

/// Whether a byte may stand in the name of a cookie or header field (a token: RFC 9110, section 5.6.2).
pub(super) fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte)
}
