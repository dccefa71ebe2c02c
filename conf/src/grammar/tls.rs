//! `tls { … }` of a protocol.
//! Owns the TLS options and their names.
//! Must never read a certificate: files are opened by the parent.

use super::{Parsed, Parser};
use crate::diagnostic::{Diagnostic, closest};
use crate::lexer::Token;
use crate::limits::{TLS_CIPHERS_MAX, TLS_CURVES_MAX, TLS_STRING_MAX};
use crate::model::{Keypair, Protocol, TlsFlags};
use crate::source::Span;
use std::path::PathBuf;

/// Curves that `ecdhe` may list.
const CURVES: &[&str] = &[
    "default",
    "auto",
    "none",
    "x25519",
    "X25519",
    "P-256",
    "P-384",
    "P-521",
    "prime256v1",
    "secp256r1",
    "secp384r1",
    "secp521r1",
    "X25519MLKEM768",
];
const FLAGS: &[&str] = &[
    "sslv3",
    "tlsv1",
    "tlsv1.0",
    "tlsv1.1",
    "tlsv1.2",
    "tlsv1.3",
    "cipher-server-preference",
    "client-renegotiation",
];

impl Parser<'_> {
    pub(super) fn tls_option(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        let no = self.accept("no");
        let lexeme = self.next();
        let tls = &mut protocol.tls;
        match &lexeme.token {
            Token::Keyword("session") => {
                if matches!(self.peek().token, Token::Keyword("cache")) {
                    return self.old_session_cache(lexeme.span);
                }
                self.expect("tickets")?;
                protocol.tls.session_tickets = !no;
            }
            Token::Keyword("edh") if no => tls.edh = "none".to_owned(),
            Token::Word(w) => {
                let w = w.clone();
                if self.old_tls_word(protocol, &w, no, lexeme.span)? {
                    return Ok(());
                }
                self.tls_flag(&mut protocol.tls.flags, &w, !no, lexeme.span)?;
            }
            Token::Keyword("edh") => protocol.tls.edh = self.edh()?,
            Token::Keyword("ciphers") if !no => {
                protocol.tls.ciphers = self
                    .name("ciphers in quotes", TLS_CIPHERS_MAX, "tlsciphers truncated")?
                    .0;
            }
            Token::Keyword("ecdhe") if !no => {
                protocol.tls.ecdhe = self.ecdhe()?;
            }
            Token::Keyword("ca") if !no => self.tls_ca(protocol)?,
            Token::Keyword("client") if !no => {
                self.expect("ca")?;
                protocol.tls.client_ca = Some(self.tls_file("tlsclientca truncated")?);
            }
            Token::Keyword("keypair") if !no => self.keypair(protocol)?,
            _ => return self.unexpected(&lexeme, "a tls option"),
        }
        Ok(())
    }

    /// `edh [params WORD]`; `edh` was read.
    fn edh(&mut self) -> Parsed<String> {
        if !self.accept("params") {
            return Ok("auto".to_owned());
        }
        if let Some(params) = self.old_edh_params() {
            return Ok(params);
        }
        let span = self.peek().span;
        let params = self.string("none, auto or legacy")?;
        if !["none", "auto", "legacy"].contains(&params.as_str()) {
            let text = format!("tls edh params {params}: invalid dheparams param");
            return self.error(span, &text, "'none', 'auto' or 'legacy'");
        }
        Ok(params)
    }

    /// `ecdhe CURVES`; the first word was read.
    fn ecdhe(&mut self) -> Parsed<String> {
        let span = self.peek().span;
        let curves = self.string("curves")?;
        self.curves(&curves, span)?;
        if curves.len() > TLS_CURVES_MAX {
            let cure = format!("at most {TLS_CURVES_MAX} characters");
            return self.error(span, "tls ecdhe curves truncated", &cure);
        }
        Ok(curves)
    }

    pub(super) fn curves(&mut self, curves: &str, span: Span) -> Parsed<()> {
        let bad = curves
            .split([',', ':'])
            .map(str::trim)
            .find(|c| !CURVES.contains(c));
        let Some(bad) = bad else {
            return Ok(());
        };
        let cure = format!("known: {}", CURVES.join(", "));
        let text = format!("tls ecdhe {curves}: invalid ecdhe curve '{bad}'");
        self.error(span, &text, &cure)
    }

    fn tls_file(&mut self, message: &str) -> Parsed<PathBuf> {
        self.name("a file name in quotes", TLS_STRING_MAX, message)
            .map(|(path, _)| PathBuf::from(path))
    }

    fn tls_ca(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        if self.accept("file") {
            protocol.tls.ca_file = Some(self.tls_file("tlsca truncated")?);
        } else if self.accept("cert") {
            protocol.tls.ca_cert = Some(self.tls_file("tlscacert truncated")?);
        } else {
            self.expect("key")?;
            protocol.tls.ca_key = Some(self.tls_file("tlscakey truncated")?);
            self.expect("password")?;
            protocol.tls.ca_password = Some(
                self.name("a password in quotes", TLS_STRING_MAX, "tlscapass")?
                    .0,
            );
        }
        Ok(())
    }

    fn keypair(&mut self, protocol: &mut Protocol) -> Parsed<()> {
        let (name, _) = self.name("a keypair's name", TLS_STRING_MAX, "keypair name too long")?;
        let attribute = if self.accept("cert") {
            Some(("cert", self.tls_file("keypair cert too long")?))
        } else if self.accept("key") {
            Some(("key", self.tls_file("keypair certificate key too long")?))
        } else if self.accept_word("ocsp") {
            Some(("ocsp", self.tls_file("keypair ocsp file too long")?))
        } else {
            None
        };
        let pairs = &mut protocol.tls.keypairs;
        if pairs.iter().all(|k| k.name != name) {
            pairs.push(Keypair {
                name: name.clone(),
                ..Keypair::default()
            });
        }
        if let Some(pair) = pairs.iter_mut().find(|k| k.name == name) {
            match attribute {
                Some(("cert", path)) => pair.cert = Some(path),
                Some(("key", path)) => pair.key = Some(path),
                Some((_, path)) => pair.ocsp = Some(path),
                None => {}
            }
        }
        Ok(())
    }

    fn tls_flag(&mut self, flags: &mut TlsFlags, word: &str, on: bool, span: Span) -> Parsed<()> {
        match word {
            // Words without effect leave no trace, so that what is written back is only what counts.
            "sslv3" | "tlsv1.0" | "tlsv1.1" | "client-renegotiation" => {
                if on && !self.in_ssl {
                    let text = format!("warning: TLS option without effect: {word}");
                    let cure = "remove it: TLS 1.2 and 1.3 are spoken, and nobody renegotiates";
                    self.report(Diagnostic::warning(span, text).cure(cure));
                }
            }
            "tlsv1" => {
                flags.tlsv1_2 = on;
                flags.tlsv1_3 = on;
            }
            "tlsv1.2" => flags.tlsv1_2 = on,
            "tlsv1.3" => flags.tlsv1_3 = on,
            "cipher-server-preference" => flags.cipher_server_preference = on,
            _ => {
                let cure = match closest(word, FLAGS.iter().copied()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("flags are {}", FLAGS.join(", ")),
                };
                return self.error(span, &format!("invalid TLS flag: {word}"), &cure);
            }
        }
        Ok(())
    }

    pub(super) fn tls_consistent(&mut self, protocol: &Protocol, span: Span) -> Parsed<()> {
        let flags = protocol.tls.flags;
        if !(flags.tlsv1_2 || flags.tlsv1_3) {
            return self.error(
                span,
                "invalid TLS protocol",
                "leave at least tlsv1.2 or tlsv1.3 on",
            );
        }
        Ok(())
    }
}
