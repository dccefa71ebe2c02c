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
