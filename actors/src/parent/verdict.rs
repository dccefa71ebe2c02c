//! What the operator hears about a configuration: its verdict, what it lacks here, its relays.
//! Owns these lines, and the answer to the client that asked for a reload.
//! Must never decide anything.

use super::actor::Parent;
use super::change::Request;
use crate::link::{Message, Peer, Role};
use backends::filter::Relayed;
use backends::service::{self, State};
use backends::surroundings;
use conf::Config;
use conf::model::{ProtocolKind, Relay};
use protocols::log::daemon as words;

impl Parent {
    /// Says once what in this system makes relays useless.
    pub(super) fn look_around(&mut self) {
        let Some(filter) = self.launcher.options.backend.kind() else {
            return;
        };
        for warning in surroundings::warnings(&Relayed::of(&self.config), filter) {
            if self.warned.insert(warning.clone()) {
                tracing::warn!("{warning}");
            }
        }
    }

    /// Says that a reload came to nothing, and why.
    pub(super) fn refuse(&mut self, request: &Request, errors: Vec<String>) {
        let file = request.file.as_ref().unwrap_or(&self.file);
        for error in &errors {
            for line in error.lines() {
                tracing::error!("{line}");
            }
        }
        tracing::debug!("{}", words::reload_failed(file.display()));
        tracing::error!(
            "{}",
            words::reload_refused(file.display(), self.generation, errors.len())
        );
        let generation = self.generation;
        service::notify(&State::Ready { generation });
        self.refused = self.refused.saturating_add(1);
        self.verdict(request, errors);
    }

    pub(super) fn verdict(&mut self, request: &Request, errors: Vec<String>) {
        let generation = self.generation;
        let (peer, client) = match request.client {
            Some((peer, client)) => (peer, Some(client)),
            None => (
                Peer {
                    role: Role::Pfe,
                    instance: 0,
                },
                None,
            ),
        };
        let verdict = Message::Verdict {
            client,
            generation,
            errors,
        };
        self.tell(peer, verdict);
    }
}

/// Prints a relay's settings with `-vv`.
pub(super) fn describe(config: &Config, relay: &Relay) {
    let Some(protocol) = config.protocol(relay.protocol) else {
        return;
    };
    let flags: Vec<&str> = [
        (relay.disabled, "disable"),
        (protocol.return_error, "return"),
        (relay.listen.tls, "tls"),
        (relay.tls_client, "tls client"),
        (relay.transparent, "divert"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect();
    let kind = match protocol.kind {
        ProtocolKind::Tcp => "tcp",
        ProtocolKind::Http => "http",
        ProtocolKind::Dns => "dns",
        ProtocolKind::Udp => "udp",
    };
    for line in words::protocol(protocol.id.0, &protocol.name, &flags, kind) {
        tracing::trace!("{line}");
    }
    for rule in &protocol.rules {
        tracing::trace!("\t{}", conf::rule_line(rule));
    }
}
