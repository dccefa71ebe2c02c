//! `check …`: how the hosts of a table reference are checked.
//! Owns every check form.
//! Must never run one.

use super::{Parsed, Parser};
use crate::diagnostic::closest;
use crate::lexer::Token;
use crate::limits;
use crate::model::{Check, Digest, HttpRequest};
use crate::source::Span;
use std::path::PathBuf;

impl Parser<'_> {
    /// What follows the word `check`.
    pub(super) fn check(&mut self) -> Parsed<Check> {
        let lexeme = self.next();
        match &lexeme.token {
            Token::Keyword("icmp") => Ok(Check::Icmp),
            Token::Keyword("tcp") => Ok(Check::Tcp { tls: false }),
            Token::Keyword("tls") => Ok(Check::Tcp { tls: true }),
            Token::Keyword("http") => self.check_http(false),
            Token::Word(w) if w == "ssl" && !lexeme.quoted => {
                self.old(lexeme.span, "check ssl", "check tls");
                Ok(Check::Tcp { tls: true })
            }
            Token::Word(w) if w == "https" && !lexeme.quoted => self.check_http(true),
            Token::Keyword("script") => self.check_script(),
            Token::Keyword("send") => self.check_send(),
            Token::Keyword("binary") => {
                self.expect("send")?;
                self.check_binary()
            }
            Token::Word(w) => {
                let near = closest(
                    w,
                    [
                        "icmp", "tcp", "tls", "http", "https", "send", "binary", "script",
                    ]
                    .into_iter(),
                );
                let cure = match near {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => "checks are icmp, tcp, tls, http, https, send, binary send, script"
                        .to_owned(),
                };
                self.error(lexeme.span, &format!("invalid check type: {w}"), &cure)
            }
            _ => self.unexpected(&lexeme, "a check type"),
        }
    }

    fn check_http(&mut self, tls: bool) -> Parsed<Check> {
        let path = self.string("the path in quotes")?;
        let host = if self.accept("host") {
            Some(self.string("a host name")?)
        } else {
            None
        };
        let request = HttpRequest { path, host, tls };
        if self.accept("digest") {
            let span = self.peek().span;
            let hex = self.string("a digest in quotes")?;
            let digest = self.digest(&hex, span)?;
            return Ok(Check::HttpDigest { request, digest });
        }
        self.expect("code")?;
        let (code, span) = self.number("an HTTP status code")?;
        if code <= 0 || code > 999 {
            return self.error(
                span,
                &format!("invalid HTTP code: {code}"),
                "a status code is a number from 100 to 599",
            );
        }
        Ok(Check::HttpCode {
            request,
            code: u32::try_from(code).unwrap_or(0),
        })
    }

    /// 32 digits are MD5, 40 are SHA-1.
    pub(super) fn digest(&mut self, hex: &str, span: Span) -> Parsed<Digest> {
        let bytes = unhex(hex);
        let digest = bytes.and_then(|bytes| match bytes.len() {
            20 => bytes.try_into().ok().map(Digest::Sha1),
            16 => bytes.try_into().ok().map(Digest::Md5),
            _ => None,
        });
        match digest {
            Some(digest) => Ok(digest),
            None => self.error(
                span,
                "invalid http digest",
                "40 hexadecimal digits are SHA-1, 32 are MD5",
            ),
        }
    }

    fn check_script(&mut self) -> Parsed<Check> {
        let span = self.peek().span;
        let path = self.string("the program's path in quotes")?;
        if path.len() > limits::SCRIPT_PATH_MAX {
            return self.error(
                span,
                "script path truncated",
                &format!("at most {} characters", limits::SCRIPT_PATH_MAX),
            );
        }
        Ok(Check::Script {
            path: PathBuf::from(path),
        })
    }

    fn check_send(&mut self) -> Parsed<Check> {
        let send = if self.accept("nothing") {
            None
        } else if self.accept_word("escaped") {
            Some(unescape(&self.string("what to send, in quotes")?))
        } else {
            let text = self.string("what to send, in quotes")?;
            Some(if self.escaped_send {
                unescape(&text)
            } else {
                text
            })
        };
        self.expect("expect")?;
        let span = self.peek().span;
        let written = self.string("what to expect, in quotes")?;
        if written.len() > limits::EXPECT_MAX {
            return self.error(
                span,
                "yyparse: expect buffer truncated",
                &format!("at most {} characters", limits::EXPECT_MAX),
            );
        }
        let tls = self.accept_tls();
        Ok(Check::SendExpect {
            send,
            expect: unescape(&written),
            tls,
        })
    }

    fn check_binary(&mut self) -> Parsed<Check> {
        let send = if self.accept("nothing") {
            None
        } else {
            Some(self.hex_string("empty binary send data", "invalid binary send data")?)
        };
        self.expect("expect")?;
        let span = self.peek().span;
        let expect = self.hex_string(
            "empty binary expect data",
            "failed in binary expect data buffer",
        )?;
        if expect.len() > limits::BINARY_EXPECT_MAX {
            return self.error(
                span,
                "expect buffer truncated",
                &format!("at most {} bytes", limits::BINARY_EXPECT_MAX),
            );
        }
        let tls = self.accept("tls");
        Ok(Check::Binary { send, expect, tls })
    }

    fn hex_string(&mut self, empty: &str, invalid: &str) -> Parsed<Vec<u8>> {
        let span = self.peek().span;
        let hex = self.string("hexadecimal digits in quotes")?;
        if hex.is_empty() {
            return self.error(
                span,
                empty,
                "write at least one byte, two hexadecimal digits each",
            );
        }
        match unhex(&hex) {
            Some(bytes) => Ok(bytes),
            None => self.error(
                span,
                invalid,
                "bytes are written as two hexadecimal digits each",
            ),
        }
    }
}

/// Bytes of an even number of hexadecimal digits.
pub(super) fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let digits = digits?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, d| (byte << 4) | d))
            .collect(),
    )
}

/// `\n`, `\r` and `\x` of an expect string; the send string is not translated (as in the original).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}
