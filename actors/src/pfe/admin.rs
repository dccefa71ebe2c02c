//! What an enable or disable request means: which objects change, and who is told.
//! Owns the rules of relayctl's switches (reference of relayctl, semantics).
//! Must never send anything: it answers with the changes.

use super::state::State;
use crate::link::Admin;
use conf::model::{Host, HostId, RedirectId, TableId};
use protocols::control::ObjectId;
use protocols::control::request::Class;

/// The changes that a request asks for, in the order they are made; `None` if there is no such object, or it may not be
/// switched (a host with a parent).
pub fn changes(state: &State, class: Class, object: &ObjectId, enable: bool) -> Option<Vec<Admin>> {
    match class {
        Class::Redirect => redirect(state, object, !enable),
        Class::Table => table(state, object).map(|id| {
            vec![Admin::Table {
                id,
                disabled: !enable,
            }]
        }),
        Class::Host => hosts(state, object).map(|ids| {
            let change = |id| Admin::Host {
                id,
                disabled: !enable,
            };
            ids.into_iter().map(change).collect()
        }),
    }
}

/// The changes that drain a host or end that.
pub fn drain(state: &State, object: &ObjectId, draining: bool) -> Option<Vec<Admin>> {
    let ids = hosts(state, object)?;
    Some(
        ids.into_iter()
            .map(|id| Admin::Drain { id, draining })
            .collect(),
    )
}

/// The change that switches a relay.
pub fn relay(state: &State, object: &ObjectId, enable: bool) -> Option<Vec<Admin>> {
    let relay = state
        .config
        .relays
        .iter()
        .find(|r| matches(object, r.id.0, &r.name))?;
    Some(vec![Admin::Relay {
        id: relay.id,
        disabled: !enable,
    }])
}

fn matches(object: &ObjectId, id: u32, name: &str) -> bool {
    match object {
        ObjectId::Id(wanted) => *wanted == id,
        ObjectId::Name(wanted) => wanted == name,
    }
}

/// A redirection takes its tables along, unless something else that is switched on uses them.
fn redirect(state: &State, object: &ObjectId, disabled: bool) -> Option<Vec<Admin>> {
    let redirect = state
        .config
        .redirects
        .iter()
        .find(|r| matches(object, r.id.0, &r.name))?;
    let id: RedirectId = redirect.id;
    let mut changes = vec![Admin::Redirect { id, disabled }];
    let tables = [Some(redirect.table), redirect.backup];
    for table in tables.into_iter().flatten() {
        if !disabled || !state.shared(table, id) {
            changes.push(Admin::Table {
                id: table,
                disabled,
            });
        }
    }
    Some(changes)
}

fn table(state: &State, object: &ObjectId) -> Option<TableId> {
    let mut tables = state.config.tables.iter();
    tables
        .find(|t| matches(object, t.id.0, &t.name))
        .map(|t| t.id)
}

/// By id one host, by name all of that name; children follow their parents and cannot be switched themselves.
fn hosts(state: &State, object: &ObjectId) -> Option<Vec<HostId>> {
    let free = |host: &&Host| host.parent.is_none();
    let all = state.config.tables.iter().flat_map(|t| &t.hosts);
    let found: Vec<HostId> = all
        .filter(|h| matches(object, h.id.0, &h.name))
        .filter(free)
        .map(|h| h.id)
        .collect();
    (!found.is_empty()).then_some(found)
}
