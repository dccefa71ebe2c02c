//! Results of checks: what they mean for redirections, and what monitors hear.
//! Owns the step from a host's status to the tables that changed.
//! Must never go through objects that no result names.

use super::actor::Pfe;
use super::control::Events;
use actix::Context;
use backends::filter::ServerState;
use conf::model::{self, TableId};
use protocols::control::Reply;
use protocols::control::extension::Event;
use protocols::control::record::StatusRecord;
use protocols::host::{HostState, HostStatus};
use protocols::log::table as words;
use std::collections::BTreeSet;

impl Pfe {
    /// Takes over what the check engine found, and follows up.
    pub(super) fn host_status(&mut self, hosts: Vec<HostStatus>, ctx: &mut Context<Self>) {
        let mut tables: BTreeSet<TableId> = BTreeSet::new();
        let mut events = Vec::new();
        for status in hosts {
            let before = self.server_state(&status);
            let (id, state) = (status.id, status.state);
            let Some(changed) = self.state.update(status) else {
                continue;
            };
            let Some((table, host)) = self.state.host(id) else {
                continue;
            };
            if changed {
                tracing::debug!("{}", words::dispatch(state, id, &host.name));
            }
            let now = self.state.status(id);
            if self.server_state(&now) != before {
                tables.insert(table.id);
            }
            // An unknown state with all retries left is the echo of `enable` or `disable`, not the result of a check.
            let checked = state != HostState::Unknown || now.retries < host.retry;
            if checked && self.watchers.any() {
                events.push(status_event(&now, table, host));
            }
        }
        if !events.is_empty() {
            self.control.do_send(Events(events));
        }
        self.changed(&tables, Vec::new());
        // The question goes through all hosts.
        if self.held && !self.state.unheard() {
            self.let_go(ctx);
        }
    }

    fn server_state(&self, status: &HostStatus) -> Option<ServerState> {
        let (table, host) = self.state.host(status.id)?;
        Some(self.state.server_state(table, host))
    }
}

fn status_event(
    status: &HostStatus,
    table: &model::Table,
    host: &model::Host,
) -> (Option<Reply>, Option<Event>) {
    let record = StatusRecord {
        id: status.id.0,
        up: status.state.number(),
        retries: i32::try_from(status.retries).unwrap_or(i32::MAX),
        checks: status.checks,
        reason: status.reason.number(),
    };
    let event = Event::HostStatus {
        id: status.id.0,
        name: host.name.clone(),
        table: table.name.clone(),
        state: status.state.to_string(),
        reason: status.reason.text().to_owned(),
        latency_ms: status.latency_ms,
    };
    (Some(Reply::HostStatus(record)), Some(event))
}
