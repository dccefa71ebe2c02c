//! Restarts: how long to wait, and when to give up.
//! Owns the history of deaths.
//! Must never read a clock.

use conf::limits;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::link::{Peer, Role};

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start the process again after this time.
    Restart(Duration),
    /// The daemon must end.
    GiveUp,
}

/// Deaths of each process within [`limits::RESTART_WINDOW`].
#[derive(Debug, Default)]
pub struct Supervisor {
    deaths: HashMap<Peer, VecDeque<Instant>>,
    total: HashMap<Role, u64>,
}

impl Supervisor {
    /// A process died at `now`.
    pub fn died(&mut self, peer: Peer, now: Instant) -> Verdict {
        let total = self.total.entry(peer.role).or_default();
        *total = total.saturating_add(1);
        let deaths = self.deaths.entry(peer).or_default();
        while deaths
            .front()
            .is_some_and(|&t| now.saturating_duration_since(t) >= limits::RESTART_WINDOW)
        {
            deaths.pop_front();
        }
        deaths.push_back(now);
        let count = u32::try_from(deaths.len()).unwrap_or(u32::MAX);
        if count > limits::RESTARTS_MAX {
            return Verdict::GiveUp;
        }
        // The first restart is immediate: connections wait in the accept queue.
        let doublings = count.saturating_sub(2).min(16);
        let delay = if count <= 1 {
            Duration::ZERO
        } else {
            limits::RESTART_DELAY
                .saturating_mul(1 << doublings)
                .min(limits::RESTART_DELAY_MAX)
        };
        Verdict::Restart(delay)
    }

    /// Deaths of the processes of a role since the start of the daemon.
    pub fn deaths(&self, role: Role) -> u64 {
        self.total.get(&role).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HCE: Peer = Peer {
        role: Role::Hce,
        instance: 0,
    };
    const CA: Peer = Peer {
        role: Role::Ca,
        instance: 0,
    };

    #[test]
    fn delays_grow_to_a_bound_and_then_it_gives_up() {
        let mut supervisor = Supervisor::default();
        let start = Instant::now();
        let mut last = Duration::ZERO;
        for n in 0..limits::RESTARTS_MAX {
            let Verdict::Restart(delay) = supervisor.died(HCE, start) else {
                unreachable!("gave up after {n}");
            };
            assert_eq!(delay.is_zero(), n == 0);
            assert!(delay >= last && delay <= limits::RESTART_DELAY_MAX);
            last = delay;
        }
        assert_eq!(last, limits::RESTART_DELAY_MAX);
        assert_eq!(supervisor.died(HCE, start), Verdict::GiveUp);
        assert_eq!(
            supervisor.died(CA, start),
            Verdict::Restart(Duration::ZERO),
            "each process has a history of its own"
        );
    }

    #[test]
    fn a_process_can_reach_the_limit_in_spite_of_the_delays() {
        let mut supervisor = Supervisor::default();
        let mut now = Instant::now();
        for _ in 0..=limits::RESTARTS_MAX {
            match supervisor.died(HCE, now) {
                Verdict::Restart(delay) => now += delay,
                Verdict::GiveUp => return,
            }
        }
        unreachable!("never gives up");
    }

    #[test]
    fn old_deaths_are_forgotten() {
        let mut supervisor = Supervisor::default();
        let mut now = Instant::now();
        for _ in 0..3 * limits::RESTARTS_MAX {
            assert_eq!(supervisor.died(HCE, now), Verdict::Restart(Duration::ZERO));
            now += limits::RESTART_WINDOW;
        }
        assert_eq!(
            supervisor.deaths(Role::Hce),
            u64::from(3 * limits::RESTARTS_MAX),
            "but counted"
        );
    }
}
