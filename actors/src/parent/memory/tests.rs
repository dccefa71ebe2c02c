#![allow(clippy::unwrap_used)]
use super::*;
use crate::link::RunState;
use conf::model::{RedirectId, TableId};
use protocols::host::HostState;

fn status(id: u32, state: HostState) -> Message {
    Message::HostStatus {
        hosts: vec![HostStatus {
            state,
            ..HostStatus::unknown(HostId(id))
        }],
    }
}

fn admin(change: Admin) -> Message {
    Message::Admin { change }
}

#[test]
fn the_last_word_on_each_object_counts() {
    let mut memory = Memory::default();
    memory.observe(Role::Hce, &status(1, HostState::Up));
    memory.observe(Role::Hce, &status(2, HostState::Up));
    memory.observe(Role::Hce, &status(1, HostState::Down));
    memory.observe(Role::Relay, &status(2, HostState::Down));
    let table = Admin::Table {
        id: TableId(1),
        disabled: true,
    };
    let off = Admin::Host {
        id: HostId(1),
        disabled: true,
    };
    let on = Admin::Host {
        id: HostId(1),
        disabled: false,
    };
    memory.observe(Role::Pfe, &admin(off));
    memory.observe(Role::Pfe, &admin(table));
    memory.observe(Role::Pfe, &admin(on));
    memory.observe(Role::Hce, &admin(off));
    let RunState {
        hosts,
        admin,
        verbose,
        ..
    } = memory.state(2);
    let states: Vec<_> = hosts.iter().map(|h| (h.id.0, h.state)).collect();
    assert_eq!(states, [(1, HostState::Down), (2, HostState::Up)]);
    assert_eq!(admin, [table, on]);
    assert_eq!(verbose, 2);
}

#[test]
fn what_a_new_configuration_does_not_have_is_forgotten() {
    let mut memory = Memory::default();
    memory.observe(Role::Hce, &status(1, HostState::Up));
    let change = Admin::Redirect {
        id: RedirectId(1),
        disabled: true,
    };
    memory.observe(Role::Pfe, &admin(change));
    memory.prune(&Config::default());
    let state = memory.state(0);
    assert!(state.hosts.is_empty() && state.admin.is_empty());
}
