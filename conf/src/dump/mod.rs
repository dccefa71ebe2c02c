//! A configuration as text: `relayd -nv` with every default, `relayd -n --modern` without.
//! Owns the way back from the model to relayd.conf.
//! Must never print what the grammar would read differently: parsing the text gives the same model.

mod order;
mod protocol;
mod redirect;
mod relay;
mod rule;
mod table;
mod text;

pub use rule::{direction, rule};

use crate::model::{Config, Router};
use order::Object;
pub use rule::rule as rule_line;
use std::fmt::Write as _;
use text::quote;

/// Text under construction.
pub(crate) struct Writer<'a> {
    config: &'a Config,
    /// Defaults are written, too.
    full: bool,
    out: String,
}

/// The effective configuration with every default (`relayd -nv`). It contains extension words where defaults have some.
pub fn dump(config: &Config) -> String {
    write(config, true)
}

/// The configuration in today's grammar, defaults left out (`relayd -n --modern`). Macros are expanded, included files
/// are in their places, unused tables and comments are not kept.
pub fn modern(config: &Config) -> String {
    write(config, false)
}

fn write(config: &Config, full: bool) -> String {
    let mut writer = Writer {
        config,
        full,
        out: String::new(),
    };
    writer.globals();
    writer.templates();
    for protocol in config.protocols.iter().skip(1) {
        writer.protocol(protocol);
    }
    for object in order::objects(config) {
        match object {
            Object::Redirect(redirect) => writer.redirect(redirect),
            Object::Relay(listeners) => writer.relay(&listeners),
            Object::Router(router) => writer.router(router),
        }
    }
    writer.out
}

impl Writer<'_> {
    /// One line of a block.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "\t{text}");
    }

    fn globals(&mut self) {
        let globals = &self.config.globals;
        let standard = crate::model::Globals::default();
        if self.full || globals.interval != standard.interval {
            let _ = writeln!(self.out, "interval {}", globals.interval.as_secs());
        }
        if self.full || globals.timeout != standard.timeout {
            let _ = writeln!(self.out, "timeout {}", globals.timeout.as_millis());
        }
        if self.full || globals.prefork != standard.prefork {
            let _ = writeln!(self.out, "prefork {}", globals.prefork);
        }
        for (on, words) in [
            (globals.log.state_changes, "state changes"),
            (globals.log.host_checks, "host checks"),
            (globals.log.connection, "connection"),
            (globals.log.connection_errors, "connection errors"),
        ] {
            if on {
                let _ = writeln!(self.out, "log {words}");
            }
        }
        if let Some(socket) = &globals.socket {
            let _ = writeln!(self.out, "socket {}", text::path(socket));
        }
        if let Some(agentx) = &globals.agentx {
            self.out.push_str("agentx");
            if let Some(context) = &agentx.context {
                let _ = write!(self.out, " context {}", quote(context));
            }
            let _ = writeln!(self.out, " path {}", text::path(&agentx.path));
        }
        if let Some(group) = &globals.demote {
            let _ = writeln!(self.out, "legacy demote {}", quote(group));
        }
        if globals.trap {
            self.out.push_str("legacy trap\n");
        }
    }

    fn router(&mut self, router: &Router) {
        let _ = writeln!(self.out, "\nrouter {} {{", quote(&router.name));
        for route in &router.routes {
            self.line(&format!("route {}", route.network));
        }
        if let Some(table) = self.config.table(router.table) {
            let port =
                (table.port != crate::limits::ROUTER_PORT || self.full).then_some(table.port);
            let options = self.reference(table, port, None, None);
            self.line(&format!("forward to {options}"));
        }
        if self.full || router.rtable != 0 {
            self.line(&format!("rtable {}", router.rtable));
        }
        if let Some(label) = &router.label {
            self.line(&format!("rtlabel {}", quote(label)));
        }
        if router.disabled {
            self.line("disable");
        }
        self.out.push_str("}\n");
    }
}
