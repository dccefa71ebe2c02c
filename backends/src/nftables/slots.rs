//! Slot lists: which host a new connection gets, written into one map per redirect.
//! Owns round robin with weights, the hash table and the pick list of `least-states`.
//! Must never depend on anything but its arguments: two balancers with the same key choose alike.

use siphasher::sip::SipHasher13;
use std::hash::Hasher as _;

/// Most slots of a list: rewriting them is what a change of a host costs.
pub const SLOTS_MAX: usize = 4093;
/// Slots of a hash table per unit of weight: enough for shares within a few per cent.
const HASH_SLOTS: usize = 100;
/// Fewest picks of a `least-states` list.
const PICKS_MIN: usize = 64;
/// Most picks of a `least-states` list.
pub const PICKS_MAX: usize = 1024;

/// A host that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Mark.
    pub mark: u32,
    /// What identifies it over restarts.
    pub label: String,
    /// Share, from 1.
    pub weight: u16,
    /// Gets new connections now.
    pub usable: bool,
}

fn usable(hosts: &[Candidate]) -> Vec<(u32, u64)> {
    let hosts = hosts.iter().filter(|h| h.usable);
    hosts
        .map(|h| (h.mark, u64::from(h.weight.max(1))))
        .collect()
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Round robin: every host as often as its weight, evenly mixed, beginning at `rotation`: a rule that is
/// rewritten starts at its first slot again, which would favour the first host.
pub fn round_robin(hosts: &[Candidate], rotation: usize) -> Vec<u32> {
    let hosts = usable(hosts);
    let common = hosts.iter().fold(0, |d, (_, w)| divisor(*w, d)).max(1);
    let mut weights: Vec<u64> = hosts.iter().map(|(_, w)| w / common).collect();
    let total: u64 = weights.iter().sum();
    let most = SLOTS_MAX as u64;
    if total > most {
        weights
            .iter_mut()
            .for_each(|w| *w = (*w * most / total).max(1));
    }
    let total: u64 = weights.iter().sum();
    let mut credit = vec![0i64; hosts.len()];
    let mut slots = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += i64::try_from(*weight).unwrap_or(i64::MAX / 4096);
        }
        let best = (0..credit.len())
            .rev()
            .max_by_key(|i| credit.get(*i).copied());
        if let Some((credit, (mark, _))) =
            best.and_then(|i| Some((credit.get_mut(i)?, hosts.get(i)?)))
        {
            *credit -= i64::try_from(total).unwrap_or(i64::MAX / 4096);
            slots.push(*mark);
        }
    }
    let middle = rotation.checked_rem(slots.len()).unwrap_or(0);
    slots.rotate_left(middle);
    slots
}

/// Folds the file's 128-bit key into the kernel's 32-bit seed.
pub fn seed(key: &[u8; 16]) -> u32 {
    let hash = SipHasher13::new_with_key(key).finish();
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

fn hash(key: &[u8; 16], label: &str, purpose: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(label.as_bytes());
    hasher.write_u64(purpose);
    hasher.finish()
}

/// Smallest prime from `n`.
fn prime(n: usize) -> usize {
    let is_prime = |n: usize| {
        n > 1
            && (2..n)
                .take_while(|d| d * d <= n)
                .all(|d| !n.is_multiple_of(d))
    };
    (n..).find(|n| is_prime(*n)).unwrap_or(SLOTS_MAX)
}

/// Hash table: each host of the table owns slots by its weight whether it is up or not; the slots of hosts that are
/// not usable are lent to others one by one. So only clients of a failed host move, and they come back with it.
pub fn hash_table(hosts: &[Candidate], key: &[u8; 16]) -> Vec<u32> {
    if usable(hosts).is_empty() {
        return Vec::new();
    }
    let weights: usize = hosts.iter().map(|h| usize::from(h.weight.max(1))).sum();
    let size = prime((weights * HASH_SLOTS).min(SLOTS_MAX));
    let owners = maglev(hosts, key, size);
    owners
        .into_iter()
        .enumerate()
        .filter_map(|(slot, owner)| {
            let owner = hosts.get(owner)?;
            match owner.usable {
                true => Some(owner.mark),
                false => lend(hosts, key, slot),
            }
        })
        .collect()
}

/// The owner of each slot: hosts take turns, each takes the next free slot of its own permutation.
fn maglev(hosts: &[Candidate], key: &[u8; 16], size: usize) -> Vec<usize> {
    let modulus = size as u64;
    let walk: Vec<(u64, u64)> = hosts
        .iter()
        .map(|h| {
            let offset = hash(key, &h.label, 1) % modulus;
            let skip = hash(key, &h.label, 2) % (modulus - 1) + 1;
            (offset, skip)
        })
        .collect();
    let mut next = vec![0u64; hosts.len()];
    let mut owner: Vec<Option<usize>> = vec![None; size];
    let mut free = size;
    while free > 0 {
        for (number, host) in hosts.iter().enumerate() {
            for _ in 0..host.weight.max(1) {
                if free == 0 {
                    break;
                }
                let (Some((offset, skip)), Some(step)) = (walk.get(number), next.get_mut(number))
                else {
                    break;
                };
                // A permutation of all slots, since their number is prime: a free one is met.
                for _ in 0..size {
                    let slot = usize::try_from((offset + *step * skip) % modulus).unwrap_or(0);
                    *step += 1;
                    if let Some(place @ None) = owner.get_mut(slot) {
                        *place = Some(number);
                        free -= 1;
                        break;
                    }
                }
            }
        }
    }
    owner.into_iter().flatten().collect()
}

/// Who gets a slot whose owner is away: the usable host with the highest weighted score for this slot.
fn lend(hosts: &[Candidate], key: &[u8; 16], slot: usize) -> Option<u32> {
    let score = |host: &Candidate| {
        let random = (hash(key, &host.label, 3 + slot as u64) >> 11) as f64 / (1u64 << 53) as f64;
        f64::from(host.weight.max(1)) / -random.max(f64::MIN_POSITIVE).ln()
    };
    hosts
        .iter()
        .filter(|h| h.usable)
        .max_by(|a, b| score(a).total_cmp(&score(b)))
        .map(|h| h.mark)
}

/// Pick list of `least-states`: the next choices, always the host with the fewest states for its weight.
/// `states` answers the states of a mark; `expected` is the number of new connections until the next list.
pub fn least_states(hosts: &[Candidate], states: impl Fn(u32) -> u64, expected: usize) -> Vec<u32> {
    let mut load: Vec<(u64, u64, u32)> = usable(hosts)
        .into_iter()
        .map(|(mark, weight)| (states(mark), weight, mark))
        .collect();
    let picks = (2 * expected)
        .max(4 * load.len())
        .clamp(PICKS_MIN, PICKS_MAX);
    let equal = load
        .iter()
        .all(|(n, w, _)| load.first().is_some_and(|(m, v, _)| n == m && w == v));
    if equal {
        // A short list that never changes while nothing differs.
        return load.into_iter().map(|(_, _, mark)| mark).collect();
    }
    let mut slots = Vec::with_capacity(picks);
    for _ in 0..picks {
        let least = load
            .iter_mut()
            .min_by(|a, b| ((a.0 + 1) * b.1).cmp(&((b.0 + 1) * a.1)));
        if let Some((states, _, mark)) = least {
            *states += 1;
            slots.push(*mark);
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::*;
    use std::collections::BTreeMap;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    fn hosts(weights: &[u16]) -> Vec<Candidate> {
        let host = |(n, weight): (usize, &u16)| Candidate {
            mark: 0x1001 + n as u32,
            label: format!("10.0.0.{n} 80"),
            weight: *weight,
            usable: true,
        };
        weights.iter().enumerate().map(host).collect()
    }

    fn shares(slots: &[u32]) -> BTreeMap<u32, usize> {
        let mut shares = BTreeMap::new();
        slots
            .iter()
            .for_each(|m| *shares.entry(*m).or_default() += 1);
        shares
    }

    #[test]
    fn round_robin_mixes_weights_and_rotates() {
        assert_eq!(round_robin(&hosts(&[1, 1, 1]), 0), [0x1001, 0x1002, 0x1003]);
        assert_eq!(round_robin(&hosts(&[1, 1, 1]), 4), [0x1002, 0x1003, 0x1001]);
        let slots = round_robin(&hosts(&[3, 2, 1]), 0);
        assert_eq!(
            shares(&slots),
            BTreeMap::from([(0x1001, 3), (0x1002, 2), (0x1003, 1)])
        );
        assert!(slots.windows(2).all(|w| w[0] != w[1]), "{slots:x?}");
        assert_eq!(round_robin(&hosts(&[10, 10]), 0).len(), 2);
        assert!(round_robin(&[], 3).is_empty());
        assert!(round_robin(&hosts(&[256; 100]), 0).len() <= SLOTS_MAX);
    }

    #[test]
    fn only_slots_of_a_failed_host_move_and_they_return() {
        let mut all = hosts(&[1; 10]);
        let before = hash_table(&all, &KEY);
        all[3].usable = false;
        let during = hash_table(&all, &KEY);
        assert_eq!(before.len(), during.len());
        for (a, b) in before.iter().zip(&during) {
            match *a == all[3].mark {
                true => assert_ne!(b, a),
                false => assert_eq!(b, a),
            }
        }
        let lent = shares(&during);
        let average = during.len() / 9;
        assert!(lent.values().all(|n| *n < average * 13 / 10), "{lent:?}");
        all[3].usable = true;
        assert_eq!(hash_table(&all, &KEY), before);
    }

    #[test]
    fn hash_table_obeys_weights_and_key() {
        let table = hash_table(&hosts(&[3, 1]), &KEY);
        let shares = shares(&table);
        let three = shares[&0x1001] as f64 / shares[&0x1002] as f64;
        assert!((2.9..3.1).contains(&three), "{shares:?}");
        assert_ne!(table, hash_table(&hosts(&[3, 1]), b"another key 0123"));
        assert!(hash_table(&hosts(&[256; 200]), &KEY).len() <= SLOTS_MAX + 6);
    }

    #[test]
    fn least_states_fills_the_gap() {
        let hosts = hosts(&[1, 1]);
        let slots = least_states(&hosts, |mark| if mark == 0x1001 { 50 } else { 0 }, 10);
        assert_eq!(slots.len(), PICKS_MIN);
        assert!(slots[..50].iter().all(|m| *m == 0x1002));
        assert_eq!(shares(&slots[50..]).len(), 2);
        assert_eq!(least_states(&hosts, |_| 7, 10), [0x1001, 0x1002]);
    }
}
