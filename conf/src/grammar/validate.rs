//! What can only be judged when the whole file was read.
//! Owns inherited globals and the checks between objects.
//! Must never repeat what a statement's own reading found.

use super::Parser;
use crate::diagnostic::Diagnostic;

impl Parser<'_> {
    /// Tables take the global timeout and interval wherever those stand in the file.
    pub(super) fn inherit_globals(&mut self) {
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

    pub(super) fn validate(&mut self) {
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
        for diagnostic in found {
            self.report(diagnostic);
        }
        self.advise_protocols();
    }
}
