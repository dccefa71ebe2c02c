//! What host states mean outside the packet filter: demotion of interface groups, gateways of routes.
//! Owns what the parent was told last, so that it hears of changes only.
//! Must never touch an interface or a routing table: the parent does.

use super::state::State;
use crate::link::Message;
use backends::filter::ServerState;
use conf::model::{HostId, NetRouteId, RouterId};
use std::collections::BTreeMap;

/// What the parent was told.
#[derive(Debug, Default)]
pub struct Effects {
    demotion: BTreeMap<String, i32>,
    gateways: BTreeMap<(RouterId, NetRouteId), Vec<HostId>>,
}

impl Effects {
    /// What an earlier process told the parent.
    pub fn start_from(&mut self, demotion: &[(String, i32)]) {
        self.demotion = demotion.iter().cloned().collect();
    }

    /// Messages for the parent after a change.
    pub fn changes(&mut self, state: &State) -> Vec<Message> {
        let mut messages = self.demote(state);
        messages.extend(self.route(state));
        messages
    }

    /// A group is demoted by the number of its tables that are empty; a table that is switched off by hand or in the
    /// file is not a failure.
    fn demote(&mut self, state: &State) -> Vec<Message> {
        let mut wanted: BTreeMap<String, i32> =
            self.demotion.keys().map(|g| (g.clone(), 0)).collect();
        for table in &state.config.tables {
            let Some(group) = &table.demote else { continue };
            let level = wanted.entry(group.clone()).or_default();
            if !state.table_off(table.id) && state.up(table) == 0 {
                *level += 1;
            }
        }
        let mut messages = Vec::new();
        for (group, level) in &wanted {
            let difference = level - self.demotion.get(group).copied().unwrap_or(0);
            if difference != 0 {
                messages.push(Message::Demote {
                    group: group.clone(),
                    level: difference,
                });
            }
        }
        wanted.retain(|_, level| *level != 0);
        self.demotion = wanted;
        messages
    }

    fn route(&mut self, state: &State) -> Vec<Message> {
        let mut wanted = BTreeMap::new();
        for router in &state.config.routers {
            let gateways: Vec<HostId> = state
                .table(router.table)
                .filter(|_| !router.disabled)
                .map(|table| {
                    let hosts = table.hosts.iter();
                    hosts
                        .filter(|h| state.server_state(table, h) == ServerState::Up)
                        .map(|h| h.id)
                        .collect()
                })
                .unwrap_or_default();
            for route in &router.routes {
                wanted.insert((router.id, route.id), gateways.clone());
            }
        }
        let changed = wanted
            .iter()
            .filter(|(key, gateways)| self.gateways.get(key) != Some(gateways));
        let mut messages: Vec<Message> = changed
            .map(|((router, route), gateways)| Message::Route {
                router: *router,
                route: *route,
                gateways: gateways.clone(),
            })
            .collect();
        let gone = self.gateways.keys().filter(|k| !wanted.contains_key(k));
        messages.extend(gone.map(|(router, route)| Message::Route {
            router: *router,
            route: *route,
            gateways: Vec::new(),
        }));
        self.gateways = wanted;
        messages
    }
}

#[cfg(test)]
mod tests;
