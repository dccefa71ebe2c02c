//! Waiting for a condition with a bound.

use std::time::{Duration, Instant};

/// Longest wait for anything that should happen soon; generous, because machines are busy.
pub const BOUND: Duration = Duration::from_secs(20);

/// Time between two looks.
const STEP: Duration = Duration::from_millis(20);

/// Gives the processor away for one step.
pub fn step() {
    std::thread::park_timeout(STEP);
}

/// Polls until `condition` answers something; fails the test with `what` after [`BOUND`].
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(BOUND, what, condition)
}

/// Polls until `condition` is true.
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}

/// The same with a bound of its own.
pub fn within<T>(bound: Duration, what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within_or_none(bound, condition).unwrap_or_else(|| panic!("not within {bound:?}: {what}"))
}

/// The same, leaving the failure to the caller.
pub fn within_or_none<T>(bound: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        step();
    }
}

/// Looks again and again for `time`; fails as soon as `condition` does not hold.
pub fn holds(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(condition(), "no longer true: {what}");
        step();
    }
}
