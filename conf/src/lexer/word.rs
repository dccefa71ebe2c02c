//! Strings, numbers and words.
//! Owns what characters belong to which.
//! Must never expand a macro.

use super::{Lexeme, Lexer, Token, word_char};
use crate::diagnostic::Diagnostic;
use crate::keywords;
use crate::limits;

impl Lexer<'_> {
    pub(super) fn quoted(&mut self, quote: char, start: (u32, u32)) -> Lexeme {
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                None => {
                    return self.bad(
                        start,
                        "reached end of file while parsing quoted string",
                        "close the string with the quote it began with",
                    );
                }
                Some('\0') => {
                    return self.bad(
                        start,
                        "syntax error",
                        "a NUL byte is no part of a configuration",
                    );
                }
                Some(c) if c == quote => break,
                Some('\n') => {}
                Some('\\') => match self.peek() {
                    Some('\n') => {
                        self.bump();
                    }
                    Some(c) if c == quote || c == ' ' || c == '\t' => {
                        self.bump();
                        text.push(c);
                    }
                    _ => text.push('\\'),
                },
                Some(c) => text.push(c),
            }
            if text.len() >= limits::TOKEN_MAX {
                self.skip_string(quote);
                return self.bad(start, "string too long", "a string has at most 8 KiB");
            }
        }
        self.lexeme(Token::Word(text), start, true)
    }

    pub(super) fn skip_string(&mut self, quote: char) {
        while let Some(c) = self.bump() {
            if c == quote || c == '\n' {
                return;
            }
        }
    }

    pub(super) fn number_or_word(&mut self, start: (u32, u32)) -> Lexeme {
        let (text, at) = match self.inputs.last() {
            Some(input) => (input.text.get(input.at..).unwrap_or(""), input.at),
            None => return self.lexeme(Token::End, start, false),
        };
        let sign = usize::from(text.starts_with('-'));
        let digits = text
            .get(sign..)
            .unwrap_or("")
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        let after = text.get(sign + digits..).unwrap_or("").chars().next();
        let ends =
            after.is_none_or(|c| c.is_whitespace() || matches!(c, ')' | ',' | '/' | '}' | '='));
        if digits > 0 && ends {
            let word = text.get(..sign + digits).unwrap_or("").to_owned();
            if let Some(input) = self.inputs.last_mut() {
                input.at = at + sign + digits;
            }
            return match word.parse::<i64>() {
                Ok(n) => self.lexeme(Token::Number(n), start, false),
                Err(_) => {
                    let what = if sign == 1 { "too small" } else { "too large" };
                    let span = self.span_from(start);
                    self.diagnostics.push(
                        Diagnostic::error(span, format!("\"{word}\" invalid number: {what}"))
                            .cure("numbers have 64 bits"),
                    );
                    self.lexeme(Token::Bad, start, false)
                }
            };
        }
        if sign == 1 {
            self.bump();
            return self.lexeme(Token::Symbol('-'), start, false);
        }
        self.word(start)
    }

    pub(super) fn word(&mut self, start: (u32, u32)) -> Lexeme {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c == '\\' {
                match self.peek_after('\\') {
                    Some('\n') => {
                        self.bump();
                        self.bump();
                        continue;
                    }
                    Some(next) if word_char(next) && next != '\\' => {
                        self.bump();
                    }
                    _ => break,
                }
            }
            let Some(c) = self.peek() else { break };
            if !word_char(c) {
                break;
            }
            text.push(c);
            self.bump();
            if text.len() >= limits::TOKEN_MAX {
                while self.peek().is_some_and(word_char) {
                    self.bump();
                }
                return self.bad(start, "string too long", "a word has at most 8 KiB");
            }
        }
        match keywords::find(&text) {
            Some(keyword) => self.lexeme(Token::Keyword(keyword), start, false),
            None => self.lexeme(Token::Word(text), start, false),
        }
    }
}

impl Lexer<'_> {
    /// Whether the next character is a slash.
    pub fn slash_ahead(&self) -> bool {
        self.peek() == Some('/')
    }

    /// Adds to `text` what follows without a blank, slashes included.
    pub fn glue(&mut self, text: &mut String) {
        while let Some(c) = self.peek() {
            if !(c == '/' || word_char(c)) || text.len() >= limits::TOKEN_MAX {
                return;
            }
            text.push(c);
            self.bump();
        }
    }
}
