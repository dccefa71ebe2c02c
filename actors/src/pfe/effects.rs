//! What host states mean outside the packet filter: demotion of interface groups, gateways of routes.
//! Owns what the parent was told last, so that it hears of changes only.
//! Must never touch an interface or a routing table: the parent does.

use super::state::State;
use crate::link::Message;
use backends::filter::ServerState;
use conf::model::{HostId, NetRouteId, Router, RouterId, Table, TableId};
use std::collections::{BTreeMap, BTreeSet};

/// What the parent was told.
#[derive(Debug, Default)]
pub struct Effects {
    /// Levels by group; never 0.
    demotion: BTreeMap<String, i32>,
    /// The tables that make up these levels.
    empty: BTreeSet<TableId>,
    gateways: BTreeMap<(RouterId, NetRouteId), Vec<HostId>>,
}

/// A table that is switched off by hand or in the file is not a failure.
fn empty(state: &State, table: &Table) -> bool {
    !state.table_off(table.id) && state.up(table) == 0
}

impl Effects {
    /// What an earlier process told the parent.
    pub fn start_from(&mut self, demotion: &[(String, i32)]) {
        self.demotion = demotion.iter().cloned().collect();
    }

    /// Messages for the parent under a new configuration: every group is demoted by the number of its tables that are
    /// empty, every route has the gateways that are up.
    pub fn all(&mut self, state: &State) -> Vec<Message> {
        let none = self.demotion.keys().map(|group| (group.clone(), 0));
        let mut levels: BTreeMap<String, i32> = none.collect();
        self.empty.clear();
        for table in &state.config.tables {
            if let Some(group) = &table.demote
                && empty(state, table)
            {
                self.empty.insert(table.id);
                *levels.entry(group.clone()).or_default() += 1;
            }
        }
        let mut messages = self.demote(levels);
        let mut gone = std::mem::take(&mut self.gateways);
        for router in &state.config.routers {
            let gateways = gateways(state, router);
            for route in &router.routes {
                let key = (router.id, route.id);
                if gone.remove(&key).as_ref() == Some(&gateways) {
                    self.gateways.insert(key, gateways.clone());
                } else {
                    messages.push(self.route(key, gateways.clone()));
                }
            }
        }
        messages.extend(gone.into_keys().map(|(router, route)| Message::Route {
            router,
            route,
            gateways: Vec::new(),
        }));
        messages
    }

    /// The same after a change of hosts in `tables`; costs nothing for tables that nothing hangs on.
    pub fn of(&mut self, state: &State, tables: &BTreeSet<TableId>) -> Vec<Message> {
        let mut levels = BTreeMap::new();
        for table in tables.iter().filter_map(|id| state.table(*id)) {
            let Some(group) = &table.demote else { continue };
            let (changed, difference) = if empty(state, table) {
                (self.empty.insert(table.id), 1)
            } else {
                (self.empty.remove(&table.id), -1)
            };
            if changed {
                let told = || self.demotion.get(group).copied().unwrap_or(0);
                *levels.entry(group.clone()).or_insert_with(told) += difference;
            }
        }
        let mut messages = self.demote(levels);
        let routers = state.config.routers.iter();
        for router in routers.filter(|router| tables.contains(&router.table)) {
            let gateways = gateways(state, router);
            for route in &router.routes {
                let key = (router.id, route.id);
                if self.gateways.get(&key) != Some(&gateways) {
                    messages.push(self.route(key, gateways.clone()));
                }
            }
        }
        messages
    }

    fn demote(&mut self, levels: BTreeMap<String, i32>) -> Vec<Message> {
        let mut messages = Vec::new();
        for (group, level) in levels {
            let told = self.demotion.remove(&group).unwrap_or(0);
            if level != 0 {
                self.demotion.insert(group.clone(), level);
            }
            let level = level.saturating_sub(told);
            if level != 0 {
                messages.push(Message::Demote { group, level });
            }
        }
        messages
    }

    fn route(&mut self, key: (RouterId, NetRouteId), gateways: Vec<HostId>) -> Message {
        let (router, route) = key;
        self.gateways.insert(key, gateways.clone());
        Message::Route {
            router,
            route,
            gateways,
        }
    }
}

/// The hosts of a router that are up.
fn gateways(state: &State, router: &Router) -> Vec<HostId> {
    let table = state.table(router.table).filter(|_| !router.disabled);
    let up = |table: &Table| {
        let hosts = table.hosts.iter();
        let up = hosts.filter(|host| state.server_state(table, host) == ServerState::Up);
        up.map(|host| host.id).collect()
    };
    table.map(up).unwrap_or_default()
}

#[cfg(test)]
mod tests;
