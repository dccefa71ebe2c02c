//! Statements of older generations: hoststated 4.1 and 4.2, relayd 4.3 to 7.4.
//! Owns their recognition, their own meaning, and one warning each that names today's form.
//! Must never change what a statement of today's grammar means.

mod action;
mod hoststated;
mod option;

use super::{Parsed, Parser};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::model::{Address, AgentX, Change, Check};
use crate::source::Span;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// What older statements leave behind for later ones.
#[derive(Default)]
pub(crate) struct Old {
    /// The first statement that only releases before 5.6 knew.
    first: Option<Span>,
    /// First virtual host of each hoststated service.
    services: HashMap<String, (Address, u16)>,
    /// `label "…"` in force.
    label: Change,
    /// In a block of hoststated `url` means a parameter of the query.
    url_is_query: bool,
}

/// What a hoststated table says of itself, and today's reference says.
#[derive(Clone, Debug, Default)]
pub(crate) struct OldTable {
    pub(super) port: Option<u16>,
    pub(super) check: Check,
    pub(super) timeout: Option<Duration>,
    pub(super) interval: Option<Duration>,
    pub(super) demote: Option<String>,
}

impl Parser<'_> {
    /// Warns of an older statement.
    pub(super) fn old(&mut self, span: Span, was: &str, now: &str) {
        self.report(
            Diagnostic::warning(span, format!("warning: old syntax: {was}"))
                .cure(format!("today: {now}")),
        );
    }

    /// The same for one that dates the file before 5.6.
    pub(super) fn ancient(&mut self, span: Span, was: &str, now: &str) {
        self.old.first.get_or_insert(span);
        self.old(span, was, now);
    }

    /// Files of before 5.6 were written for five relay processes.
    pub(super) fn old_prefork(&mut self) {
        if let Some(span) = self.old.first
            && !self.prefork_set
        {
            self.config.globals.prefork = limits::PREFORK_OLD;
            self.old(
                span,
                "the default of prefork was 5",
                &format!("prefork {}", limits::PREFORK_OLD),
            );
        }
    }

    /// `log updates`, `log all`; answers whether it was one of them.
    pub(super) fn old_log(&mut self) -> bool {
        let span = self.peek().span;
        let log = &mut self.config.globals.log;
        if self.ahead && super::is_word(&self.current, "updates") {
            log.state_changes = true;
            log.connection = true;
            self.next();
            self.old(
                span,
                "log updates",
                "'log state changes' and 'log connection'",
            );
        } else if self.ahead && super::is_word(&self.current, "all") {
            log.state_changes = true;
            log.connection = true;
            log.host_checks = true;
            self.next();
            self.old(
                span,
                "log all",
                "'log state changes', 'log host checks' and 'log connection'",
            );
        } else {
            return false;
        }
        true
    }

    /// `snmp [trap] ["path"]`; the word was read.
    pub(super) fn old_snmp(&mut self, span: Span) -> Parsed<()> {
        let trap = self.accept_word("trap");
        let mut path = PathBuf::from(limits::SNMP_PATH);
        if matches!(self.peek().token, crate::lexer::Token::Word(_)) {
            path = PathBuf::from(self.string("the socket's path in quotes")?);
        }
        let now = if trap {
            "'agentx path \"…\"' and 'legacy trap'; traps are not sent"
        } else {
            "agentx path \"…\""
        };
        self.config.globals.trap |= trap;
        self.config.globals.agentx = Some(AgentX {
            context: None,
            path,
        });
        self.old(span, "snmp", now);
        self.no_agentx(span);
        self.end_of_line()
    }

    /// `send trap`; the first word was read.
    pub(super) fn old_send_trap(&mut self, span: Span) -> Parsed<()> {
        if !self.accept_word("trap") {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'trap'");
        }
        self.config.globals.trap = true;
        self.ancient(span, "send trap", "'legacy trap'; traps are not sent");
        self.end_of_line()
    }

    /// `demote GROUP` outside every block; the word was read.
    pub(super) fn old_demote(&mut self, span: Span) -> Parsed<()> {
        let group = self.demote_group()?;
        self.ancient(
            span,
            "demote outside a table",
            &format!("legacy demote {group}"),
        );
        self.config.globals.demote = Some(group);
        self.end_of_line()
    }

    /// `legacy demote GROUP`, `legacy trap`: what `--modern` writes for the two above; `legacy` was read.
    pub(super) fn legacy_global(&mut self) -> Parsed<()> {
        if self.accept("demote") {
            self.config.globals.demote = Some(self.demote_group()?);
        } else if self.accept_word("trap") {
            self.config.globals.trap = true;
        } else {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'demote' or 'trap'");
        }
        self.end_of_line()
    }
}
