//! When hosts are checked: who is new, and how they spread over their interval.
//! Owns the start times over a reload.
//! Must never move a host that did not change.

use super::target::{Target, phase};
use conf::model::HostId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Takes over what goes on from the targets before, and gives the others their first regular start.
/// The hosts returned have no result yet and are to be checked at once.
pub fn merge(
    targets: &mut BTreeMap<HostId, Target>,
    mut old: BTreeMap<HostId, Target>,
    now: Instant,
) -> Vec<HostId> {
    let mut fresh = Vec::new();
    let mut by_interval: BTreeMap<Duration, Vec<HostId>> = BTreeMap::new();
    for (id, target) in targets.iter_mut() {
        let before = old.remove(id).filter(|before| target.same_check(before));
        let enabled = before
            .as_ref()
            .is_some_and(|before| before.disabled && !target.disabled);
        match before {
            Some(before) => {
                target.flight = before.flight;
                target.queued = before.queued;
                target.due = before.due;
                if before.interval != target.interval {
                    by_interval.entry(target.interval).or_default().push(*id);
                }
                if enabled {
                    fresh.push(*id);
                }
            }
            None => {
                by_interval.entry(target.interval).or_default().push(*id);
                fresh.push(*id);
            }
        }
    }
    for (interval, ids) in by_interval {
        let count = ids.len();
        for (position, id) in ids.into_iter().enumerate() {
            if let Some(target) = targets.get_mut(&id) {
                target.due = now + phase(interval, position, count);
            }
        }
    }
    fresh
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::target::{Flight, Kind};
    use super::*;
    use conf::model::TableId;

    fn target(now: Instant, interval: u64, port: u16) -> Target {
        Target {
            table: TableId(1),
            name: "127.0.0.1".to_owned(),
            address: std::net::IpAddr::from([127, 0, 0, 1]).into(),
            port,
            ip_ttl: 0,
            kind: Kind::Icmp,
            timeout: Duration::from_millis(200),
            interval: Duration::from_secs(interval),
            disabled: false,
            due: now,
            flight: None,
            queued: false,
        }
    }

    fn targets(list: Vec<Target>) -> BTreeMap<HostId, Target> {
        (1..).map(HostId).zip(list).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn first_configuration_checks_all_at_once_and_spreads_them() {
        let now = Instant::now();
        let mut new = targets((0..10).map(|_| target(now, 10, 80)).collect());
        assert_eq!(merge(&mut new, BTreeMap::new(), now).len(), 10);
        let seconds = |t: &Target| (t.due - now).as_secs();
        let dues: Vec<u64> = new.values().map(seconds).collect();
        assert_eq!(dues, (1..=10).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_changed_moves() {
        let now = Instant::now();
        let mut old = targets((0..4).map(|_| target(now, 10, 80)).collect());
        merge(&mut old, BTreeMap::new(), now);
        let flight = Flight {
            serial: 7,
            started: now,
        };
        for target in old.values_mut() {
            target.flight = Some(flight);
        }
        old.get_mut(&HostId(4)).unwrap().disabled = true;
        let later = now + Duration::from_millis(100);
        let mut new = targets(vec![
            target(later, 10, 80),
            target(later, 20, 80),
            target(later, 10, 81),
            target(later, 10, 80),
        ]);
        // The third is another check, the fourth is enabled by the new configuration.
        let fresh = merge(&mut new, old.clone(), later);
        assert_eq!(fresh, vec![HostId(3), HostId(4)]);
        assert_eq!(new[&HostId(1)].due, old[&HostId(1)].due);
        assert_eq!(new[&HostId(1)].flight, Some(flight));
        assert_eq!(new[&HostId(2)].due, later + Duration::from_secs(20));
        assert_eq!(new[&HostId(2)].flight, Some(flight));
        assert_eq!(new[&HostId(3)].flight, None);
    }

    #[tokio::test(start_paused = true)]
    async fn due_times_stay_exact_however_late_a_turn_is() {
        let now = Instant::now();
        let mut target = target(now, 1, 80);
        let at = |ms| now + Duration::from_millis(ms);
        target.advance(at(7));
        assert_eq!(target.due, at(1000));
        target.advance(at(1999));
        assert_eq!(target.due, at(2000));
        // The machine slept.
        target.advance(at(7_500));
        assert_eq!(target.due, at(8000));
        target.advance(at(9_000));
        assert_eq!(target.due, at(10_000));
    }
}
