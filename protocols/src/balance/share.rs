//! Shares that are not what the configuration says: of a host that starts slowly, of a process in a limit.
//! Owns their arithmetic.
//! Must never make a share of nothing out of something: a host that is up gets a client now and then.

use std::time::Duration;

/// Parts that a weight of 1 has where hosts start slowly.
pub const SHARE_FULL: u32 = 1000;
/// Part of its weight that a host begins with.
const SHARE_FIRST: u32 = SHARE_FULL / 100;

/// The share of a host of that weight, `elapsed` after it came up, which grows evenly for the time `slow`;
/// in parts of [`SHARE_FULL`].
pub fn ramp(weight: u32, elapsed: Duration, slow: Duration) -> u32 {
    let full = u128::from(SHARE_FULL);
    let part = (elapsed.as_millis() * full)
        .checked_div(slow.as_millis())
        .unwrap_or(full)
        .clamp(SHARE_FIRST.into(), full);
    weight.saturating_mul(u32::try_from(part).unwrap_or(SHARE_FULL))
}

/// The part of a limit that process `number` of `processes` may use; all parts together are the limit.
pub fn part(limit: u32, processes: u32, number: u32) -> u32 {
    let processes = processes.max(1);
    limit / processes + u32::from(number < limit % processes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_share_grows_evenly_from_a_hundredth_to_all() {
        let at = |seconds| ramp(2, Duration::from_secs(seconds), Duration::from_secs(100));
        assert_eq!([at(0), at(1), at(50), at(100)], [20, 20, 1000, 2000]);
        assert_eq!(at(1_000_000), 2000);
        assert_eq!(ramp(1, Duration::ZERO, Duration::ZERO), SHARE_FULL);
    }

    proptest! {
        #[test]
        fn a_share_never_shrinks_and_never_leaves_its_bounds(
            weight in 1_u32..=256,
            slow in 1_u64..100_000,
            one in 0_u64..200_000,
            two in 0_u64..200_000,
        ) {
            let share = |seconds| ramp(weight, Duration::from_secs(seconds), Duration::from_secs(slow));
            prop_assert!(share(one.min(two)) <= share(one.max(two)));
            prop_assert!((weight * SHARE_FIRST..=weight * SHARE_FULL).contains(&share(one)));
        }

        #[test]
        fn parts_make_the_limit(limit in any::<u32>(), processes in 1_u32..=64) {
            let parts: Vec<u32> = (0..processes).map(|n| part(limit, processes, n)).collect();
            prop_assert_eq!(parts.iter().map(|&p| u64::from(p)).sum::<u64>(), u64::from(limit));
            let least = parts.iter().min().copied().unwrap_or_default();
            prop_assert!(parts.iter().all(|&p| p - least <= 1));
        }
    }
}
