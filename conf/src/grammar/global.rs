//! Settings outside every block.
//! Owns interval, timeout, prefork, log, socket, agentx.
//! Must never depend on their order: they may stand anywhere in the file.

use super::{Parsed, Parser};
use crate::limits;
use crate::model::AgentX;
use std::path::PathBuf;
use std::time::Duration;

impl Parser<'_> {
    pub(super) fn global(&mut self) -> Parsed<()> {
        if self.accept("interval") {
            let n = self.ranged(
                "an interval in seconds",
                "invalid interval",
                0,
                i64::from(u32::MAX),
            )?;
            self.config.globals.interval = Duration::from_secs(n.unsigned_abs());
        } else if self.accept("timeout") {
            self.config.globals.timeout = self.milliseconds()?;
        } else if self.accept("prefork") {
            let n = self.ranged(
                "the number of relay processes",
                "invalid number of preforked relays",
                1,
                i64::from(limits::PREFORK_MAX),
            )?;
            self.prefork_set = true;
            self.config.globals.prefork = u32::try_from(n).unwrap_or(1);
        } else if self.accept("log") {
            self.log()?;
        } else if self.accept("socket") {
            self.config.globals.socket =
                Some(PathBuf::from(self.string("the socket's path in quotes")?));
        } else {
            let span = self.peek().span;
            self.expect("agentx")?;
            self.agentx()?;
            self.no_agentx(span);
        }
        self.end_of_line()
    }

    pub(super) fn milliseconds(&mut self) -> Parsed<Duration> {
        let n = self.ranged(
            "a timeout in milliseconds",
            "invalid timeout",
            0,
            i64::from(u32::MAX),
        )?;
        Ok(Duration::from_millis(n.unsigned_abs()))
    }

    fn log(&mut self) -> Parsed<()> {
        if self.accept("state") {
            self.expect("changes")?;
            self.config.globals.log.state_changes = true;
        } else if self.accept("host") {
            self.expect("checks")?;
            self.config.globals.log.host_checks = true;
        } else if self.accept("connection") {
            if self.accept("errors") {
                self.config.globals.log.connection_errors = true;
            } else {
                self.config.globals.log.connection = true;
            }
        } else if !self.old_log() {
            let lexeme = self.next();
            return self.unexpected(
                &lexeme,
                "'state changes', 'host checks' or 'connection [errors]'",
            );
        }
        Ok(())
    }

    fn agentx(&mut self) -> Parsed<()> {
        let mut agentx = AgentX {
            context: None,
            path: PathBuf::from(limits::AGENTX_PATH),
        };
        loop {
            let span = self.peek().span;
            if self.accept("context") {
                let context = self.string("a context")?;
                if context.len() > limits::AGENTX_CONTEXT_MAX {
                    return self.error(
                        span,
                        "agentx context too long",
                        &format!("at most {} characters", limits::AGENTX_CONTEXT_MAX),
                    );
                }
                agentx.context = Some(context);
            } else if self.accept("path") {
                let path = self.string("the socket's path in quotes")?;
                if path.len() > limits::SOCKET_PATH_MAX {
                    return self.error(
                        span,
                        "agentx path too long",
                        &format!("at most {} characters", limits::SOCKET_PATH_MAX),
                    );
                }
                agentx.path = PathBuf::from(path);
            } else {
                break;
            }
        }
        self.config.globals.agentx = Some(agentx);
        Ok(())
    }
}
