//! Time in slots of 10 ms: what falls into one slot happens together.
//! Owns items and the slot they are due in.
//! Must never drift: an item due every second is due at exact seconds, only its slot is rounded.

use conf::limits::CHECK_SLOT;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Items by the time they are due.
#[derive(Debug)]
pub struct Wheel<T> {
    epoch: Instant,
    slots: BTreeMap<u64, Vec<T>>,
}

impl<T> Wheel<T> {
    /// An empty wheel.
    pub fn new(epoch: Instant) -> Wheel<T> {
        Wheel {
            epoch,
            slots: BTreeMap::new(),
        }
    }

    /// Puts an item into the slot of `due`, rounded up.
    pub fn put(&mut self, due: Instant, item: T) {
        let since = due.saturating_duration_since(self.epoch).as_nanos();
        let slot = since.div_ceil(CHECK_SLOT.as_nanos());
        let slot = u64::try_from(slot).unwrap_or(u64::MAX);
        self.slots.entry(slot).or_default().push(item);
    }

    /// When the next slot that holds something begins.
    pub fn next(&self) -> Option<Instant> {
        let (slot, _) = self.slots.first_key_value()?;
        let factor = u32::try_from(*slot).unwrap_or(u32::MAX);
        self.epoch.checked_add(CHECK_SLOT.checked_mul(factor)?)
    }

    /// Takes out everything due by `now`, earliest slot first.
    pub fn take(&mut self, now: Instant) -> Vec<T> {
        let mut items = Vec::new();
        while self.next().is_some_and(|next| next <= now) {
            match self.slots.pop_first() {
                Some((_, slot)) if items.is_empty() => items = slot,
                Some((_, slot)) => items.extend(slot),
                None => break,
            }
        }
        items
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn nothing_is_early_lost_or_more_than_a_slot_late(dues in prop::collection::vec(0u64..2000, 0..50), step in 1u64..300) {
            // The clock only gives a starting point here.
            let epoch = Instant::now();
            let at = |ms| epoch + Duration::from_millis(ms);
            let mut wheel = Wheel::new(epoch);
            for due in &dues {
                wheel.put(at(*due), *due);
            }
            let mut seen = 0;
            for now in (0..=2010 + step).step_by(step as usize) {
                for due in wheel.take(at(now)) {
                    seen += 1;
                    prop_assert!(due <= now && now < due + 10 + step, "{due} at {now}");
                }
            }
            prop_assert_eq!(seen, dues.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn items_of_one_slot_come_together_and_never_early() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let mut wheel = Wheel::new(epoch);
        for (ms, item) in [(11, 'b'), (15, 'c'), (20, 'd'), (21, 'e'), (0, 'a')] {
            wheel.put(at(ms), item);
        }
        assert_eq!(wheel.next(), Some(at(0)));
        assert_eq!(wheel.take(at(9)), vec!['a']);
        assert_eq!(wheel.next(), Some(at(20)));
        assert!(wheel.take(at(19)).is_empty());
        assert_eq!(wheel.take(at(20)), vec!['b', 'c', 'd']);
        assert_eq!(wheel.take(at(500)), vec!['e']);
        assert_eq!(wheel.next(), None);
    }
}
