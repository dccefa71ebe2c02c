#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::testing::config;
use super::*;
use crate::pfe::admin;
use conf::model::Address;
use protocols::control::ObjectId;
use protocols::control::request::Class;
use std::net::IpAddr;

fn up(id: u32) -> HostStatus {
    HostStatus {
        state: HostState::Up,
        checks: 4,
        ups: 3,
        ..HostStatus::unknown(HostId(id))
    }
}

fn fresh(config: Config) -> State {
    State::new(1, Arc::new(config), &RunState::default(), &State::default())
}

fn host(id: u32, disabled: bool) -> Admin {
    Admin::Host {
        id: HostId(id),
        disabled,
    }
}

fn word(text: &str) -> ObjectId {
    ObjectId::from_word(text)
}

#[test]
fn a_disabled_host_is_down_and_forgets_its_counters() {
    let mut state = fresh(config(&[2]));
    assert_eq!(state.update(up(1)), Some(true));
    assert_eq!(state.update(up(1)), Some(false));
    assert_eq!(state.up(state.table(TableId(1)).unwrap()), 1);
    assert!(state.admin(host(1, true)));
    assert!(!state.admin(host(1, true)), "twice is no change");
    assert_eq!(state.status(HostId(1)).checks, 0);
    assert_eq!(state.update(up(1)), None, "a late result is not believed");
    assert_eq!(state.up(state.table(TableId(1)).unwrap()), 0);
    assert!(state.admin(host(1, false)));
    assert_eq!(state.update(up(1)), Some(true));
}

#[test]
fn children_follow_their_parent_and_cannot_be_switched() {
    let mut config = config(&[2, 1]);
    config.tables[1].hosts[0].parent = Some(HostId(1));
    let mut state = fresh(config);
    state.update(up(1));
    state.update(up(3));
    let class = Class::Host;
    assert_eq!(admin::changes(&state, class, &word("3"), false), None);
    assert_eq!(
        admin::changes(&state, class, &word("127.0.0.3"), false),
        None
    );
    state.admin(host(1, true));
    let (table, child) = state.host(HostId(3)).unwrap();
    assert!(state.host_off(child));
    assert_eq!(state.server_state(table, child), ServerState::Down);
    assert_eq!(state.status(HostId(3)).checks, 0);
}

#[test]
fn those_that_copy_a_host_are_its_family() {
    let mut config = config(&[2, 1, 1]);
    config.tables[1].hosts[0].parent = Some(HostId(1));
    let state = fresh(config);
    let family = |id| state.family(HostId(id)).map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(family(1), [1, 3]);
    assert_eq!(family(3), [3]);
}

#[test]
fn names_mean_all_hosts_of_that_name_and_ids_only_one() {
    let mut config = config(&[1, 1]);
    config.tables[1].hosts[0].name = "127.0.0.1".to_owned();
    let state = fresh(config);
    let class = Class::Host;
    let both = admin::changes(&state, class, &word("127.0.0.1"), false);
    assert_eq!(both.unwrap(), [host(1, true), host(2, true)]);
    let one = admin::changes(&state, class, &word("2"), true);
    assert_eq!(one.unwrap(), [host(2, false)]);
    assert_eq!(admin::changes(&state, class, &word("nosuch"), true), None);
    assert_eq!(admin::changes(&state, Class::Table, &word("9"), true), None);
    assert_eq!(
        admin::changes(&state, Class::Table, &word("t2:80"), true)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_reload_keeps_what_has_the_same_id_and_name() {
    let mut before = fresh(config(&[2, 1]));
    before.update(up(1));
    before.update(up(3));
    before.admin(host(2, true));
    before.admin(Admin::Table {
        id: TableId(2),
        disabled: true,
    });
    let mut config = config(&[2, 1]);
    config.tables[1].name = "other:80".to_owned();
    config.tables[1].hosts[0].name = "127.0.0.9".to_owned();
    config.tables[1].hosts[0].address = Address::from("127.0.0.9".parse::<IpAddr>().unwrap());
    let after = State::new(2, Arc::new(config), &RunState::default(), &before);
    assert_eq!(after.status(HostId(1)).state, HostState::Up);
    assert!(after.host_off(after.host(HostId(2)).unwrap().1));
    assert_eq!(after.status(HostId(3)).state, HostState::Unknown);
    assert!(!after.table_off(TableId(2)));
}

#[test]
fn what_the_parent_remembers_counts_after_a_restart() {
    let run = RunState {
        hosts: vec![up(1), up(2), up(77)],
        admin: vec![host(2, true), host(88, true)],
        ..RunState::default()
    };
    let state = State::new(1, Arc::new(config(&[2])), &run, &State::default());
    assert_eq!(state.up(state.table(TableId(1)).unwrap()), 1);
    assert_eq!(state.status(HostId(2)).checks, 0);
    assert_eq!(state.status(HostId(77)).state, HostState::Unknown);
}

#[test]
fn hosts_without_a_check_are_usable() {
    let mut config = config(&[2]);
    config.tables[0].check = Check::None;
    let mut state = fresh(config);
    assert_eq!(state.up(state.table(TableId(1)).unwrap()), 2);
    state.admin(Admin::Drain {
        id: HostId(1),
        draining: true,
    });
    let (table, one) = state.host(HostId(1)).unwrap();
    assert_eq!(state.server_state(table, one), ServerState::Drain);
}
