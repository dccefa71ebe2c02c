#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::*;
use crate::link::{Admin, RunState};
use crate::pfe::state::testing::config;
use conf::model::TableId;
use protocols::host::{HostState, HostStatus};
use std::sync::Arc;

fn state() -> State {
    let mut config = config(&[2, 1]);
    config.tables[0].demote = Some("carp".to_owned());
    config.tables[1].demote = Some("carp".to_owned());
    State::new(1, Arc::new(config), &RunState::default(), &State::default())
}

fn set(state: &mut State, id: u32, to: HostState) {
    let status = HostStatus {
        state: to,
        ..HostStatus::unknown(HostId(id))
    };
    state.update(status);
}

fn levels(messages: &[Message]) -> Vec<i32> {
    let level = |m: &Message| match m {
        Message::Demote { group, level } => {
            assert_eq!(group, "carp");
            *level
        }
        other => panic!("{other:?}"),
    };
    messages.iter().map(level).collect()
}

#[test]
fn a_group_is_demoted_by_the_number_of_its_empty_tables() {
    let mut state = state();
    let mut effects = Effects::default();
    assert_eq!(levels(&effects.changes(&state)), [2]);
    assert_eq!(levels(&effects.changes(&state)), Vec::<i32>::new());
    set(&mut state, 1, HostState::Up);
    assert_eq!(levels(&effects.changes(&state)), [-1]);
    set(&mut state, 3, HostState::Up);
    assert_eq!(levels(&effects.changes(&state)), [-1]);
    set(&mut state, 1, HostState::Down);
    assert_eq!(levels(&effects.changes(&state)), [1]);
    state.admin(Admin::Table {
        id: TableId(1),
        disabled: true,
    });
    assert_eq!(levels(&effects.changes(&state)), [-1]);
}

#[test]
fn a_restarted_engine_tells_only_the_difference() {
    let state = state();
    let mut effects = Effects::default();
    effects.start_from(&[("carp".to_owned(), 1)]);
    assert_eq!(levels(&effects.changes(&state)), [1]);
    let mut gone = Effects::default();
    gone.start_from(&[("carp".to_owned(), 3)]);
    assert_eq!(levels(&gone.changes(&State::default())), [-3]);
}
