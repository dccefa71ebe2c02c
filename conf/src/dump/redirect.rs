//! Redirects as text.
//! Owns their lines.
//! Must never write a port that the file left to the packet.

use super::Writer;
use super::text::{address, quote, word};
use crate::model::{Forward, Redirect, TableId};
use std::fmt::Write as _;

impl Writer<'_> {
    pub(super) fn redirect(&mut self, redirect: &Redirect) {
        let _ = writeln!(self.out, "\nredirect {} {{", quote(&redirect.name));
        for listener in &redirect.listeners {
            let mut line = format!("listen on {}", address(listener.address));
            if listener.ip_protocol == 17 {
                line.push_str(" udp");
            } else if self.full {
                line.push_str(" tcp");
            }
            let _ = write!(line, " port {}", listener.port);
            if listener.port_end != listener.port {
                let _ = write!(line, ":{}", listener.port_end);
            }
            if let Some(interface) = &listener.interface {
                let _ = write!(line, " interface {}", word(interface));
            }
            if listener.log {
                line.push_str(" pflog");
            }
            self.line(&line);
        }
        self.redirect_table(redirect, redirect.table);
        if let Some(backup) = redirect.backup {
            self.redirect_table(redirect, backup);
        }
        if let Some(tag) = &redirect.tag {
            let matched = if tag.match_only { "match " } else { "" };
            self.line(&format!("{matched}pftag {}", quote(&tag.name)));
        }
        if self.full || redirect.session_timeout != crate::limits::SESSION_TIMEOUT_DEFAULT {
            self.line(&format!(
                "session timeout {}",
                redirect.session_timeout.as_secs()
            ));
        }
        for (on, words) in [
            (redirect.sticky, "sticky-address"),
            (redirect.masquerade, "masquerade"),
            (redirect.disabled, "disable"),
        ] {
            if on {
                self.line(words);
            }
        }
        self.out.push_str("}\n");
    }

    fn redirect_table(&mut self, redirect: &Redirect, table: TableId) {
        let Some(table) = self.config.table(table) else {
            return;
        };
        let port = (!redirect.keep_port).then_some(table.port);
        let reference = self.reference(table, port, Some(redirect.mode), redirect.key);
        let line = match &redirect.forward {
            Forward::Translate => format!("forward to {reference}"),
            Forward::Route { interface } => {
                format!("route to {reference} interface {}", word(interface))
            }
        };
        self.line(&line);
    }
}
