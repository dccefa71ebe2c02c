//! Relays as text: one block for all listeners it was written with.
//! Owns their lines.
//! Must never write a relay's property on one of its lines only, as the last line decides.

use super::Writer;
use super::text::{address, hex, path, quote, word};
use crate::model::{
    AccessForm, AccessLog, AccessTarget, Address, ProtocolId, ProxyVersion, Relay, Target,
    Translate,
};
use std::fmt::Write as _;

impl Writer<'_> {
    pub(super) fn relay(&mut self, listeners: &[&Relay]) {
        let Some(relay) = listeners.first() else {
            return;
        };
        let _ = writeln!(self.out, "\nrelay {} {{", quote(&relay.block));
        for listener in listeners {
            let listen = &listener.listen;
            let mut line = format!("listen on {} port {}", address(listen.address), listen.port);
            if let Some(interface) = &listen.interface {
                let _ = write!(line, " interface {}", word(interface));
            }
            if listen.tls {
                line.push_str(" tls");
            }
            if listen.proxy {
                line.push_str(" proxy-protocol");
            }
            self.line(&line);
        }
        if relay.protocol != ProtocolId(0)
            && let Some(protocol) = self.config.protocol(relay.protocol)
        {
            self.line(&format!("protocol {}", quote(&protocol.name)));
        }
        self.forwards(relay);
        if self.full || relay.session_timeout != crate::limits::SESSION_TIMEOUT_DEFAULT {
            let seconds = relay.session_timeout.as_secs();
            self.line(&format!("session timeout {seconds}"));
        }
        if let Some(log) = &relay.access {
            self.access_log(log);
        }
        if let Some(max) = relay.session_max.all {
            self.line(&format!("session max {max}"));
        }
        if let Some(max) = relay.session_max.client {
            self.line(&format!("session max per client {max}"));
        }
        if relay.disabled {
            self.line("disable");
        }
        self.out.push_str("}\n");
    }

    fn access_log(&mut self, log: &AccessLog) {
        let mut line = String::from(match log.form {
            AccessForm::Combined => "log access combined",
            AccessForm::Json => "log access json",
        });
        if log.query {
            line.push_str(" with query");
        }
        for name in &log.headers {
            let _ = write!(line, " with header {}", quote(name));
        }
        match &log.target {
            AccessTarget::File(file) => {
                let _ = write!(line, " to file {}", path(file));
            }
            AccessTarget::Syslog => line.push_str(" to syslog"),
            AccessTarget::Journald => line.push_str(" to journald"),
        }
        self.line(&line);
    }

    fn forwards(&mut self, relay: &Relay) {
        let mut key = relay.key;
        for entry in &relay.tables {
            let Some(table) = self.config.table(entry.table) else {
                continue;
            };
            let own = if entry.mode.keyed() { key.take() } else { None };
            let mut reference = self.reference(table, Some(table.port), Some(entry.mode), own);
            if let Some(cookie) = &entry.cookie {
                let _ = write!(reference, " sticky cookie {}", quote(&cookie.name));
                if let Some(key) = cookie.key {
                    let _ = write!(reference, " \"0x{}\"", hex(&key.0));
                }
            }
            self.forward(relay, &reference);
        }
        let retry = match relay.retry {
            0 => String::new(),
            n => format!(" retry {n}"),
        };
        let fixed = |(a, port): (Address, u16)| format!("{} port {port}", address(a));
        let (special, server) = match relay.target {
            Target::Tables => return,
            Target::Address { address, port } => (None, Some((address, port))),
            Target::NatLookup(server) => (Some("nat lookup"), server),
            Target::Destination(server) => (Some("destination"), server),
        };
        if let Some(server) = server {
            self.forward(relay, &format!("{}{retry}", fixed(server)));
        }
        if let Some(words) = special {
            self.forward(relay, &format!("{words}{retry}"));
        }
    }

    fn forward(&mut self, relay: &Relay, target: &str) {
        let mut line = String::new();
        if relay.transparent {
            line.push_str("transparent ");
        }
        line.push_str("forward ");
        if relay.tls_client {
            line.push_str("with tls ");
        }
        let _ = write!(line, "to {target}");
        match relay.translate {
            None => {}
            Some(Translate::Inet) => line.push_str(" inet"),
            Some(Translate::Inet6(prefix)) => {
                let _ = write!(line, " inet6 {prefix}");
            }
        }
        match relay.proxy_protocol {
            None => {}
            Some(ProxyVersion::V1) => line.push_str(" proxy-protocol v1"),
            Some(ProxyVersion::V2) => line.push_str(" proxy-protocol v2"),
        }
        self.line(&line);
    }
}
