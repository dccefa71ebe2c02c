//! Warnings about what is legal and has no effect, and faults that only the whole file shows.
//! Owns: tables nobody uses, rules nobody reaches, TLS options for nothing, checks that cannot succeed.
//! Must never refuse a file for what the original accepts.

use super::{Parser, ProtocolId};
use crate::diagnostic::{Diagnostic, closest};
use crate::model::{
    Action, Direction, HostId, KeyOp, Protocol, ProtocolKind, Relay, Rule, Table, TableId,
    TlsOptions,
};
use crate::source::Span;
use std::collections::HashMap;

impl Parser<'_> {
    pub(super) fn warn(&mut self, span: Span, text: String, cure: &str) {
        self.report(Diagnostic::warning(span, format!("warning: {text}")).cure(cure));
    }

    /// `agentx` and its predecessors.
    pub(super) fn no_agentx(&mut self, span: Span) {
        let text = "agentx has no effect: no SNMP master agent is spoken to".to_owned();
        let cure = "remove the line; the Prometheus metrics have the same figures (the daemon's option 'metrics')";
        self.warn(span, text, cure);
    }

    pub(super) fn table_by_id(&self, id: TableId) -> Option<&Table> {
        // Ids are positions while a file is read.
        self.config.tables.get((id.0 as usize).checked_sub(1)?)
    }

    /// Id of the protocol whose block is being read.
    pub(super) fn current_protocol(&self) -> ProtocolId {
        ProtocolId(u32::try_from(self.config.protocols.len()).unwrap_or(u32::MAX))
    }

    /// Adds a rule, unless it can never have an effect.
    pub(super) fn push_rule(&mut self, protocol: &mut Protocol, rule: Rule, span: Span) {
        let useless = if protocol.kind != ProtocolKind::Http {
            let text = "rules have no effect outside http protocols".to_owned();
            self.warn(span, text, "write 'http protocol', or remove the rule");
            true
        } else if let Some(line) = self.shadow(&rule) {
            let cure = format!("the rule of line {line} is quick and matches everything");
            self.warn(span, "this rule is never reached".to_owned(), &cure);
            true
        } else {
            false
        };
        if useless {
            self.rule_tables
                .retain(|(p, i, _)| (*p, *i) != (protocol.id, protocol.rules.len()));
            return;
        }
        protocol.rules.push(rule);
    }

    /// Line of the rule that no message of this rule's direction gets past. Old actions have an order of their own.
    fn shadow(&mut self, rule: &Rule) -> Option<u32> {
        let end = match rule.direction {
            Direction::Request => self.finals.first_mut(),
            Direction::Response => self.finals.last_mut(),
        }?;
        let shadow = *end;
        if shadow.is_none() && everything(rule) {
            *end = Some(rule.line);
        }
        shadow.filter(|_| rule.legacy.is_none())
    }

    /// An interface that is not there is no fault: it may come.
    pub(super) fn known_interface(&mut self, name: &str, span: Span) {
        let interfaces = self.resolver.interfaces();
        if interfaces.is_empty() || self.resolver.interface(name).is_some() {
            return;
        }
        let cure = match closest(name, interfaces.iter().map(String::as_str)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("interfaces are {}", interfaces.join(", ")),
        };
        self.warn(span, format!("no interface '{name}' on this system"), &cure);
    }

    pub(super) fn advise(&mut self) {
        self.advise_rule_tables();
        // What only faulty statements use would look unused.
        if !self.lexer.diagnostics.failed() {
            self.advise_tables();
            self.advise_macros();
        }
        self.advise_tls();
    }

    /// Protocols that no relay has; they leave no trace.
    pub(super) fn advise_protocols(&mut self) {
        let mut ids = HashMap::new();
        let mut unused = Vec::new();
        self.config.protocols.retain_mut(|protocol| {
            if protocol.id != ProtocolId(0) && !self.used_protocols.contains(&protocol.id) {
                unused.push(protocol.name.clone());
                return false;
            }
            let id = ProtocolId(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            ids.insert(protocol.id, id);
            protocol.id = id;
            true
        });
        for relay in &mut self.config.relays {
            relay.protocol = ids.get(&relay.protocol).copied().unwrap_or(relay.protocol);
        }
        for name in unused {
            self.report(Diagnostic {
                severity: crate::diagnostic::Severity::Warning,
                ..Diagnostic::unplaced(format!("unused protocol: {name}"))
            });
        }
    }

    fn advise_macros(&mut self) {
        for (name, span) in self.lexer.unused_macros() {
            let text = format!("macro '{name}' not used");
            self.warn(span, text, "remove it, or use it as $NAME outside quotes");
        }
    }

    /// A rule that chooses a table which no relay has: the choice has no effect.
    fn advise_rule_tables(&mut self) {
        let used: std::collections::HashSet<String> = self
            .config
            .tables
            .iter()
            .map(|t| t.template.clone())
            .collect();
        for (protocol, index, span) in std::mem::take(&mut self.rule_tables) {
            let rule = self
                .config
                .protocols
                .get_mut(protocol.0 as usize)
                .and_then(|p| p.rules.get_mut(index));
            let Some(rule) = rule else { continue };
            match &rule.forward {
                Some(name) if !used.contains(name) => {
                    let text = format!("no relay forwards to <{name}>: this has no effect");
                    rule.forward = None;
                    self.warn(span, text, "add 'forward to <table> …' to the relay");
                }
                _ => {}
            }
        }
    }

    fn advise_tables(&mut self) {
        let mut unused: Vec<(Span, String)> = self
            .templates
            .iter()
            .filter(|(_, t)| !t.used && t.span.end > 0)
            .map(|(name, t)| (t.span, name.clone()))
            .collect();
        unused.sort_by_key(|(span, _)| (span.file, span.start));
        for (span, name) in unused {
            let text = format!("unused table: {name}");
            self.warn(span, text, "no redirect, relay or router forwards to it");
        }
        let hopeless: Vec<String> = self
            .config
            .tables
            .iter()
            .filter(|t| t.timeout.is_zero() && t.check != crate::model::Check::None)
            .map(|t| t.name.clone())
            .collect();
        for name in hopeless {
            let text = format!("warning: the checks of table {name} cannot succeed");
            self.report(Diagnostic {
                severity: crate::diagnostic::Severity::Warning,
                ..Diagnostic::unplaced(text).cure("their 'timeout' is 0")
            });
        }
    }

    fn advise_tls(&mut self) {
        let mut found = Vec::new();
        for protocol in &mut self.config.protocols {
            let Some(span) = self.tls_spans.get(&protocol.id) else {
                continue;
            };
            let relays = self.config.relays.iter();
            let relays: Vec<&Relay> = relays.filter(|r| r.protocol == protocol.id).collect();
            for (what, cure) in drop_useless(&mut protocol.tls, &relays) {
                let name = &protocol.name;
                let text = format!("TLS options without effect: {what} of {name}");
                found.push((*span, text, cure));
            }
        }
        for (span, text, cure) in found {
            self.warn(span, text, cure);
        }
    }

    /// `parent` must name a host that has none itself.
    pub(super) fn parent_faults(&self) -> Vec<Diagnostic> {
        let hosts = || self.config.tables.iter().flat_map(|t| &t.hosts);
        if hosts().all(|h| h.parent.is_none()) {
            return Vec::new();
        }
        let parents: HashMap<HostId, Option<HostId>> = hosts().map(|h| (h.id, h.parent)).collect();
        hosts()
            .filter_map(|host| Some((host, host.parent?)))
            .filter(|(host, parent)| *parent == host.id || parents.get(parent) != Some(&None))
            .map(|(host, parent)| {
                Diagnostic::unplaced(format!("host parent id {parent} invalid")).cure(format!(
                    "host {}: 'parent' takes the id that 'relayctl show hosts' prints for a host that has no parent itself",
                    host.name
                ))
            })
            .collect()
    }
}

/// Takes away TLS options that no relay of their protocol needs; says which, and why.
fn drop_useless(tls: &mut TlsOptions, relays: &[&Relay]) -> Vec<(&'static str, &'static str)> {
    const NO_LISTENER: &str = "no relay with this protocol has 'listen … tls'";
    const NO_CLIENT: &str = "no relay with this protocol has 'forward with tls'";
    if relays.is_empty() {
        return Vec::new();
    }
    let listens = relays.iter().any(|r| r.listen.tls);
    let connects = relays.iter().any(|r| r.tls_client);
    if !listens && !connects {
        *tls = TlsOptions::default();
        let cure = "no relay with this protocol has 'listen … tls' or 'forward with tls'";
        return vec![("all", cure)];
    }
    let mut found = Vec::new();
    let server = !tls.keypairs.is_empty() || tls.client_ca.is_some() || tls.session_tickets;
    if !listens && server {
        tls.keypairs.clear();
        tls.client_ca = None;
        tls.session_tickets = false;
        found.push(("keypair, client ca, session tickets", NO_LISTENER));
    }
    if !connects && tls.ca_file.take().is_some() {
        found.push(("ca file", NO_CLIENT));
    }
    let authority = (tls.ca_cert.is_some(), tls.ca_key.is_some());
    if authority != (listens && connects, listens && connects) {
        let said = match authority {
            (false, false) => None,
            (true, true) => Some((
                "ca cert and ca key",
                "inspection needs 'listen … tls' and 'forward with tls'",
            )),
            _ => Some(("ca cert or ca key", "inspection needs both")),
        };
        found.extend(said);
        (tls.ca_cert, tls.ca_key, tls.ca_password) = (None, None, None);
    }
    found
}

/// Whether no message of its direction gets past the rule.
fn everything(rule: &Rule) -> bool {
    rule.quick
        && rule.action != Action::Match
        && rule.legacy.is_none()
        && rule.family.is_none()
        && rule.from.is_none()
        && rule.to.is_none()
        && rule.method.is_none()
        && rule.tagged.is_none()
        && rule
            .keys
            .iter()
            .all(|k| k.op == KeyOp::Test && k.pattern == crate::model::Pattern::Any)
}
