#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::link::{Remote, pair};
use conf::limits::LINK_QUEUE;
use protocols::host::HostState;

fn report() -> (Addr<Report>, Sender, Remote) {
    let me = Peer {
        role: Role::Hce,
        instance: 0,
    };
    let (link, remote) = pair(me);
    let sender = link.sender.clone();
    (Report::new(sender.clone()).start(), sender, remote)
}

fn status(id: u32, checks: u64) -> HostStatus {
    HostStatus {
        checks,
        state: HostState::Up,
        ..HostStatus::unknown(HostId(id))
    }
}

#[actix::test]
async fn results_of_one_turn_go_together_to_pfe_and_relays() {
    let (report, _sender, mut remote) = report();
    for id in 1..=100 {
        report.do_send(Statuses(vec![status(id, 1)]));
    }
    for role in [Role::Pfe, Role::Relay] {
        let outgoing = remote.outbox.recv().await.unwrap();
        assert_eq!(outgoing.to, To::All(role));
        match outgoing.message {
            link::Message::HostStatus { hosts } => assert_eq!(hosts.len(), 100),
            other => panic!("{other:?}"),
        }
    }
}

#[actix::test]
async fn a_slow_parent_gets_the_latest_of_every_host() {
    let (report, sender, mut remote) = report();
    for _ in 0..LINK_QUEUE {
        sender
            .try_send(To::All(Role::Pfe), link::Message::RoundEnd)
            .unwrap();
    }
    for checks in 1..=1000 {
        let statuses = vec![status(1, checks), status(2, checks)];
        report.send(Statuses(statuses)).await.unwrap();
    }
    let mut told = BTreeMap::new();
    for _ in 0..LINK_QUEUE + 2 {
        let outgoing = remote.outbox.recv().await.unwrap();
        if let (To::All(Role::Pfe), link::Message::HostStatus { hosts }) =
            (outgoing.to, outgoing.message)
        {
            told.extend(hosts.into_iter().map(|status| (status.id, status.checks)));
        }
    }
    assert_eq!(told, BTreeMap::from([(HostId(1), 1000), (HostId(2), 1000)]));
}

#[actix::test]
async fn a_new_state_takes_waiting_results_along_and_these_do_not_wait_long() {
    tokio::time::pause();
    let (report, _sender, mut remote) = report();
    let mut next = async || {
        let outgoing = remote.outbox.recv().await.unwrap();
        match outgoing.message {
            link::Message::HostStatus { hosts } => {
                let hosts = hosts.iter().map(|h| (h.id.0, h.checks)).collect();
                (outgoing.to.role(), hosts)
            }
            other => panic!("{other:?}"),
        }
    };
    let told = |role, hosts: &[(u32, u64)]| (role, hosts.to_vec());
    report.do_send(Statuses(vec![status(1, 1), status(2, 1)]));
    assert_eq!(next().await, told(Role::Pfe, &[(1, 1), (2, 1)]));
    assert_eq!(next().await, told(Role::Relay, &[(1, 1), (2, 1)]));
    report.send(Statuses(vec![status(1, 2)])).await.unwrap();
    let down = HostStatus {
        state: HostState::Down,
        ..status(2, 2)
    };
    let start = tokio::time::Instant::now();
    report.do_send(Statuses(vec![down]));
    assert_eq!(next().await, told(Role::Pfe, &[(1, 2), (2, 2)]));
    assert_eq!(next().await, told(Role::Relay, &[(2, 2)]));
    assert_eq!(start.elapsed(), std::time::Duration::ZERO);
    // The time that was set before passes.
    tokio::time::sleep(2 * RESULTS_LAG).await;
    let start = tokio::time::Instant::now();
    report.do_send(Statuses(vec![status(1, 3)]));
    assert_eq!(next().await, told(Role::Pfe, &[(1, 3)]));
    let waited = start.elapsed();
    assert!(waited >= RESULTS_LAG && waited <= 2 * RESULTS_LAG);
    // After a reload the id may be another host's.
    let configure = Configure {
        config: Arc::default(),
        disabled: Disabled::default(),
        known: Arc::default(),
    };
    report.do_send(configure);
    report.do_send(Statuses(vec![status(1, 4)]));
    assert_eq!(next().await, told(Role::Pfe, &[(1, 4)]));
    assert_eq!(next().await, told(Role::Relay, &[(1, 4)]));
}

#[actix::test]
async fn relays_are_told_again_what_they_may_have_lost() {
    tokio::time::pause();
    let (report, _sender, mut remote) = report();
    let mut next = async || {
        let outgoing = remote.outbox.recv().await.unwrap();
        match outgoing.message {
            link::Message::HostStatus { hosts } => {
                let hosts: Vec<_> = hosts.iter().map(|h| (h.id.0, h.state)).collect();
                (outgoing.to.role(), hosts)
            }
            other => panic!("{other:?}"),
        }
    };
    let start = tokio::time::Instant::now();
    let down = HostStatus {
        state: HostState::Down,
        ..status(2, 1)
    };
    report.do_send(Statuses(vec![status(1, 1), down]));
    let told = vec![(1, HostState::Up), (2, HostState::Down)];
    assert_eq!(next().await, (Role::Pfe, told.clone()));
    assert_eq!(next().await, (Role::Relay, told.clone()));
    for round in 1..=2 {
        assert_eq!(next().await, (Role::Relay, told.clone()));
        let waited = start.elapsed();
        assert!(waited >= round * RETOLD_EVERY && waited < (round + 1) * RETOLD_EVERY);
    }
    // After a reload the id may be another host's.
    report.do_send(Configure {
        config: Arc::default(),
        disabled: Disabled::default(),
        known: Arc::default(),
    });
    report.do_send(Statuses(vec![status(2, 2)]));
    let told = vec![(2, HostState::Up)];
    for role in [Role::Pfe, Role::Relay, Role::Relay] {
        assert_eq!(next().await, (role, told.clone()));
    }
}
