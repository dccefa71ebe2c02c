//! What a restarted process must be told: host states, changes made by hand, services served in user space.
//! Owns the [`RunState`], learnt from messages on their way through the parent.
//! Must never act on what it learns.

use crate::link::{Admin, Message, Role, RunState};
use backends::filter::Service;
use conf::Config;
use conf::model::HostId;
use protocols::host::HostStatus;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub struct Memory {
    hosts: BTreeMap<HostId, HostStatus>,
    admin: Vec<Admin>,
    forwarding: Vec<Service>,
    demotion: BTreeMap<String, i32>,
    /// See [`RunState::seed`].
    pub seed: [u8; 16],
    /// See [`RunState::cookie_seed`].
    pub cookie_seed: [u8; 16],
}

/// The object of an administrative change: a later change of it replaces the earlier one.
fn object(change: &Admin) -> (u8, u32) {
    match change {
        Admin::Host { id, .. } => (0, id.0),
        Admin::Drain { id, .. } => (1, id.0),
        Admin::Table { id, .. } => (2, id.0),
        Admin::Redirect { id, .. } => (3, id.0),
        Admin::Relay { id, .. } => (4, id.0),
    }
}

impl Memory {
    /// Learns from a message that `from` sends.
    pub fn observe(&mut self, from: Role, message: &Message) {
        match (from, message) {
            (Role::Hce, Message::HostStatus { hosts }) => {
                for host in hosts {
                    self.hosts.insert(host.id, *host);
                }
            }
            (Role::Pfe, Message::Admin { change }) => {
                let key = object(change);
                self.admin.retain(|old| object(old) != key);
                self.admin.push(*change);
            }
            (Role::Pfe, Message::Forwarding { services }) => {
                self.forwarding.clone_from(services);
            }
            _ => {}
        }
    }

    /// Learns that a group was demoted, so that a restarted pfe does not do it again.
    pub fn demoted(&mut self, group: &str, difference: i32) {
        let level = self.demotion.entry(group.to_owned()).or_default();
        *level = level.saturating_add(difference);
    }

    /// Forgets what a new configuration does not have.
    pub fn prune(&mut self, config: &Config) {
        let hosts: std::collections::HashSet<HostId> = config
            .tables
            .iter()
            .flat_map(|table| table.hosts.iter().map(|host| host.id))
            .collect();
        self.hosts.retain(|id, _| hosts.contains(id));
        self.admin.retain(|change| match change {
            Admin::Host { id, .. } | Admin::Drain { id, .. } => hosts.contains(id),
            Admin::Table { id, .. } => config.table(*id).is_some(),
            Admin::Redirect { id, .. } => config.redirect(*id).is_some(),
            Admin::Relay { id, .. } => config.relay(*id).is_some(),
        });
        self.forwarding
            .retain(|service| config.redirect(service.id).is_some());
    }

    /// What is known now.
    pub fn state(&self, verbose: u8) -> RunState {
        RunState {
            hosts: self.hosts.values().cloned().collect(),
            admin: self.admin.clone(),
            forwarding: self.forwarding.clone(),
            demotion: self.demotion.clone().into_iter().collect(),
            verbose,
            // Read each time: the administrator may have written names down since.
            tags: backends::filter::known_tags(),
            seed: self.seed,
            cookie_seed: self.cookie_seed,
        }
    }
}

#[cfg(test)]
mod tests;
