//! `log access …` in a relay (extension).
//! Owns its words.
//! Must never open the file it names.

use super::{Parsed, Parser, choice::token};
use crate::limits;
use crate::model::{AccessForm, AccessLog, AccessTarget};
use std::path::PathBuf;

impl Parser<'_> {
    /// What follows `log` in a relay.
    pub(super) fn access_log(&mut self) -> Parsed<AccessLog> {
        if !self.accept_word("access") {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'access'");
        }
        let form = if self.accept_word("json") {
            AccessForm::Json
        } else {
            // The default may be written.
            self.accept_word("combined");
            AccessForm::Combined
        };
        let mut log = AccessLog {
            form,
            query: false,
            headers: Vec::new(),
            target: AccessTarget::Syslog,
        };
        while self.accept("with") {
            self.access_addition(&mut log)?;
        }
        if self.accept("to") {
            log.target = self.access_target()?;
        }
        Ok(log)
    }

    fn access_addition(&mut self, log: &mut AccessLog) -> Parsed<()> {
        if self.accept("query") {
            log.query = true;
            return Ok(());
        }
        if !self.accept("header") {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'query' or 'header'");
        }
        let span = self.peek().span;
        let name = self.string("a header field's name in quotes")?;
        if name.is_empty() || name.len() > limits::ACCESS_NAME_MAX || !name.bytes().all(token) {
            return self.error(
                span,
                "invalid header field",
                &format!(
                    "letters, digits and -, at most {} characters",
                    limits::ACCESS_NAME_MAX
                ),
            );
        }
        if log.headers.len() >= limits::ACCESS_HEADERS_MAX {
            return self.error(
                span,
                "too many header fields",
                &format!("at most {} in one access log", limits::ACCESS_HEADERS_MAX),
            );
        }
        if !log.headers.iter().any(|h| h.eq_ignore_ascii_case(&name)) {
            log.headers.push(name);
        }
        Ok(())
    }

    fn access_target(&mut self) -> Parsed<AccessTarget> {
        if self.accept_word("syslog") {
            return Ok(AccessTarget::Syslog);
        }
        if self.accept_word("journald") {
            return Ok(AccessTarget::Journald);
        }
        if !self.accept("file") {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'file', 'syslog' or 'journald'");
        }
        let span = self.peek().span;
        let path = PathBuf::from(self.string("the file's path in quotes")?);
        if !path.is_absolute() || path.as_os_str().len() > limits::ACCESS_PATH_MAX {
            return self.error(
                span,
                "invalid path of an access log",
                &format!(
                    "write a path that begins with /, at most {} characters",
                    limits::ACCESS_PATH_MAX
                ),
            );
        }
        Ok(AccessTarget::File(path))
    }
}
