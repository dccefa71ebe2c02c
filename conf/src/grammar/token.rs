//! Taking tokens: one ahead, words, strings, numbers, ends of lines.
//! Owns the parser's view of the lexer.
//! Must never know a statement.

use super::{Parsed, Parser};
use crate::lexer::{Lexeme, Token};
use crate::source::Span;

impl Parser<'_> {
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
    pub(super) fn glued(&mut self, mut text: String, span: Span) -> String {
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
}
