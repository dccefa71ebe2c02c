//! One relay for each listener of a block.
//! Owns the checks of a whole relay, its name and its place among the listeners.
//! Must never read a token.

use super::relay::{Draft, RelayReference};
use super::{Parsed, Parser};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::model::{Listen, ProtocolId, ProtocolKind, Relay, RelayId, RelayTable, Target};
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn finish_relay(&mut self, draft: &Draft, span: Span) -> Parsed<()> {
        let name = &draft.name;
        if draft.listeners.is_empty() {
            return self.complain(
                span,
                &format!("relay {name} has no listener"),
                "add 'listen on ADDRESS port PORT'",
            );
        }
        if draft.nat_lookup && draft.destination {
            return self.complain(
                span,
                &format!("relay {name} with conflicting nat lookup and peer options"),
                "write either 'nat lookup' or 'destination'",
            );
        }
        if draft.target() == Target::Tables && draft.tables.is_empty() {
            return self.complain(
                span,
                &format!("relay {name} has no target, rdr, or table"),
                "add 'forward to …'",
            );
        }
        let limited = |l: &Listen| l.interface.is_some();
        let diverts = |l: &Listen| draft.destination && l.address.ip.is_unspecified();
        let mut listeners = draft.listeners.iter();
        if let Some((_, place)) = listeners.find(|(l, _)| limited(l) && !diverts(l)) {
            return self.complain(
                *place,
                "superfluous interface",
                "only a relay on 0.0.0.0 or :: with 'forward to destination' takes an interface",
            );
        }
        self.push_relays(draft, span)
    }

    /// One relay for each listener.
    fn push_relays(&mut self, draft: &Draft, span: Span) -> Parsed<()> {
        let protocol = draft.protocol.unwrap_or(ProtocolId(0));
        let kind = self
            .config
            .protocol(protocol)
            .map_or(ProtocolKind::Tcp, |p| p.kind);
        let datagrams = kind.datagrams();
        if !self.fit_for(&draft.tables, kind) {
            return Ok(());
        }
        for (index, (listen, place)) in draft.listeners.iter().enumerate() {
            let id = RelayId(u32::try_from(self.config.relays.len() + 1).unwrap_or(u32::MAX));
            let name = if index == 0 {
                draft.name.clone()
            } else {
                format!("{}{id}:{}", draft.name, listen.port)
            };
            if name.len() > limits::RELAY_NAME_MAX {
                let cure = format!(
                    "further listeners are called NAME<id>:<port>, with at most {} characters",
                    limits::RELAY_NAME_MAX
                );
                return self.complain(span, "invalid relay name", &cure);
            }
            let place_of = (listen.address, listen.port, datagrams);
            if !self.listeners.insert(place_of) {
                return self.same_listener(&draft.name, *place, span);
            }
            let relay = draft.relay(id, name, listen.clone(), protocol);
            self.config.relays.push(relay);
            self.relay_ends.push(span);
        }
        Ok(())
    }

    fn same_listener(&mut self, name: &str, place: Span, span: Span) -> Parsed<()> {
        let cure = match self.lexer.sources.place(place) {
            Some((_, line)) => {
                format!("another relay already listens on the address and port of line {line}")
            }
            None => "another relay already listens on this address and port".to_owned(),
        };
        let text = format!("relay {name} or listener defined twice");
        self.complain(span, &text, &cure)
    }

    /// Whether the options of tables and the protocol fit; complains if not.
    fn fit_for(&mut self, tables: &[RelayReference], kind: ProtocolKind) -> bool {
        for used in tables {
            if used.cookie.is_some() && kind != ProtocolKind::Http {
                let _ = self.complain(
                    used.span,
                    "sticky cookie needs an http protocol",
                    "add 'protocol NAME' with the name of an 'http protocol'",
                );
                return false;
            }
            let queue = self
                .table_by_id(used.table)
                .is_some_and(|t| t.queue.is_some());
            if queue && kind.datagrams() {
                let text = "warning: 'queue' has no effect here";
                let cure = "datagrams do not wait";
                self.report(Diagnostic::warning(used.span, text).cure(cure));
            }
        }
        true
    }
}

impl Draft {
    fn target(&self) -> Target {
        match (self.nat_lookup, self.destination, self.fixed) {
            (true, _, fixed) => Target::NatLookup(fixed),
            (_, true, fixed) => Target::Destination(fixed),
            (_, _, Some((address, port))) => Target::Address { address, port },
            (_, _, None) => Target::Tables,
        }
    }

    /// The relay of one listener.
    fn relay(&self, id: RelayId, name: String, listen: Listen, protocol: ProtocolId) -> Relay {
        let tables = self.tables.iter().map(|used| RelayTable {
            table: used.table,
            mode: used.mode.unwrap_or(self.mode),
            cookie: used.cookie.clone(),
        });
        Relay {
            id,
            name,
            block: self.name.clone(),
            disabled: self.disabled,
            listen,
            protocol,
            target: self.target(),
            tables: tables.collect(),
            key: self.keys.iter().copied().flatten().next(),
            retry: self.retry,
            transparent: self.transparent,
            tls_client: self.tls_client,
            translate: self.translate,
            proxy_protocol: self.proxy_protocol,
            session_timeout: self.session_timeout,
            access: self.access.clone(),
            session_max: self.session_max,
        }
    }
}
