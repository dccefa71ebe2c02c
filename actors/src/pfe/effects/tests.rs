#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::*;
use crate::link::{Admin, RunState};
use crate::pfe::state::testing::config;
use conf::model::{NetRoute, TableId};
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
    assert_eq!(levels(&effects.all(&state)), [2]);
    assert_eq!(levels(&effects.all(&state)), Vec::<i32>::new());
    let (one, two) = (
        BTreeSet::from([TableId(1)]),
        BTreeSet::from([TableId(1), TableId(2)]),
    );
    set(&mut state, 1, HostState::Up);
    assert_eq!(levels(&effects.of(&state, &one)), [-1]);
    assert_eq!(levels(&effects.of(&state, &one)), Vec::<i32>::new());
    set(&mut state, 3, HostState::Up);
    assert_eq!(levels(&effects.of(&state, &two)), [-1]);
    set(&mut state, 1, HostState::Down);
    assert_eq!(levels(&effects.of(&state, &two)), [1]);
    assert_eq!(levels(&effects.all(&state)), Vec::<i32>::new());
    state.admin(Admin::Table {
        id: TableId(1),
        disabled: true,
    });
    assert_eq!(levels(&effects.of(&state, &one)), [-1]);
    set(&mut state, 3, HostState::Down);
    state.admin(Admin::Table {
        id: TableId(1),
        disabled: false,
    });
    assert_eq!(levels(&effects.of(&state, &two)), [2]);
}

#[test]
fn a_restarted_engine_tells_only_the_difference() {
    let state = state();
    let mut effects = Effects::default();
    effects.start_from(&[("carp".to_owned(), 1)]);
    assert_eq!(levels(&effects.all(&state)), [1]);
    let mut gone = Effects::default();
    gone.start_from(&[("carp".to_owned(), 3)]);
    assert_eq!(levels(&gone.all(&State::default())), [-3]);
}

#[test]
fn routes_hear_of_their_own_table_only() {
    let mut config = config(&[2, 1]);
    config.routers.push(Router {
        id: RouterId(1),
        name: "uplinks".to_owned(),
        disabled: false,
        label: None,
        rtable: 0,
        table: TableId(1),
        routes: vec![NetRoute {
            id: NetRouteId(1),
            network: "10.0.0.0/8".parse().unwrap(),
        }],
    });
    let mut state = State::new(1, Arc::new(config), &RunState::default(), &State::default());
    let mut effects = Effects::default();
    let up = |messages: Vec<Message>| -> Vec<Vec<u32>> {
        let gateways = |m: &Message| match m {
            Message::Route { gateways, .. } => gateways.iter().map(|id| id.0).collect(),
            other => panic!("{other:?}"),
        };
        messages.iter().map(gateways).collect()
    };
    assert_eq!(up(effects.all(&state)), [Vec::<u32>::new()]);
    set(&mut state, 2, HostState::Up);
    let other = BTreeSet::from([TableId(2)]);
    assert!(effects.of(&state, &other).is_empty());
    let own = BTreeSet::from([TableId(1)]);
    assert_eq!(up(effects.of(&state, &own)), [vec![2]]);
    assert!(effects.all(&state).is_empty(), "told once");
    assert_eq!(up(effects.all(&State::default())), [Vec::<u32>::new()]);
    assert!(effects.all(&State::default()).is_empty());
}
