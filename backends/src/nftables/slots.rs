//! Slot lists: which host a new connection gets. A redirect's rule takes numbers from a range that never changes; the
//! maps `slots4` and `slots6` say which host a number means, so a change of a host changes elements and no rule.
//! Owns round robin with weights, the hash table and the pick list of `least-states`.
//! Must never depend on anything but its arguments: two balancers with the same key choose alike.

use siphasher::sip::SipHasher13;
use std::collections::BTreeSet;
use std::hash::Hasher as _;

/// Most slots of a list: a slot's number must fit where a mark has the host's number.
pub const SLOTS_MAX: usize = 4093;
/// Up to this many slots, round robin is written anew when a host changes, so that hosts alternate strictly. Of a longer
/// list only the slots of hosts that are away change, which keeps the change small.
const REWRITTEN_MAX: usize = 12;
/// A list may be this long to give exact shares while one host is away, and while more are.
const EXACT_MAX: [usize; 2] = [1024, 64];
/// Slots per unit of weight where exact shares would need a longer list: shares are within an eighth then.
const SHARE_MIN: usize = 8;
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

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn multiple(a: usize, b: usize) -> usize {
    a / divisor(a, b) * b
}

/// Weights without common divisor, whose sum is at most [`SLOTS_MAX`] (or the number of hosts, if that is more).
fn shares(hosts: &[Candidate]) -> Vec<usize> {
    let weights = || hosts.iter().map(|h| usize::from(h.weight.max(1)));
    let common = weights().fold(0, divisor).max(1);
    let total: usize = weights().map(|w| w / common).sum();
    let room = SLOTS_MAX.saturating_sub(hosts.len());
    let scale = |w: usize| match total > SLOTS_MAX {
        true => 1 + (w - 1) * room / (total - hosts.len()).max(1),
        false => w,
    };
    weights().map(|w| scale(w / common)).collect()
}

/// Length of a round robin list. It depends on hosts and weights, never on who is up, and gives exact shares with all
/// hosts up, in most tables also with some of them away.
pub fn length(hosts: &[Candidate]) -> usize {
    let shares = shares(hosts);
    let total: usize = shares.iter().sum();
    let mut length = total;
    let mut take = |part: usize, most: usize| {
        if part > 0 && multiple(length, part) <= most {
            length = multiple(length, part);
        }
    };
    let [most, most_later] = EXACT_MAX;
    let without_one: BTreeSet<usize> = shares.iter().map(|s| total - s).collect();
    without_one.iter().rev().for_each(|p| take(*p, most));
    if total == hosts.len() {
        (1..total).rev().for_each(|part| take(part, most_later));
    }
    let exact = without_one
        .iter()
        .all(|part| *part == 0 || length.is_multiple_of(*part));
    match total {
        0 => 0,
        _ if exact => length,
        _ => length.max(total * (SLOTS_MAX / total).clamp(1, SHARE_MIN)),
    }
}

/// Takes turns among the hosts with a share, evenly mixed; answers their places.
struct Turns {
    /// Place, share and credit of each.
    hosts: Vec<(usize, i64, i64)>,
    /// Sum of shares.
    total: i64,
    /// All have the same share: simply one after the other.
    equal: bool,
    turn: usize,
}

impl Turns {
    fn new(shares: &[usize]) -> Turns {
        let share = |s: &usize| i64::try_from(*s).unwrap_or(0);
        let all = shares.iter().map(share).enumerate();
        let hosts: Vec<_> = all
            .filter(|(_, s)| *s > 0)
            .map(|(n, s)| (n, s, 0))
            .collect();
        Turns {
            total: hosts.iter().map(|(_, share, _)| share).sum(),
            equal: hosts.windows(2).all(|w| matches!(w, [a, b] if a.1 == b.1)),
            hosts,
            turn: 0,
        }
    }
}

impl Iterator for Turns {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.equal {
            let turn = self.turn.checked_rem(self.hosts.len())?;
            self.turn = turn + 1;
            return self.hosts.get(turn).map(|(place, ..)| *place);
        }
        for (_, share, credit) in &mut self.hosts {
            *credit += *share;
        }
        let (place, _, credit) = self.hosts.iter_mut().rev().max_by_key(|h| h.2)?;
        *credit -= self.total;
        Some(*place)
    }
}

/// Round robin: every host as often as its weight, evenly mixed. Empty if no host is usable.
pub fn round_robin(hosts: &[Candidate]) -> Vec<u32> {
    let shares = shares(hosts);
    let length = length(hosts);
    if length > REWRITTEN_MAX {
        let period: usize = shares.iter().sum();
        let owners: Vec<usize> = Turns::new(&shares).take(period).collect();
        return lend_in_turns(hosts, owners.iter().copied().cycle().take(length));
    }
    let usable = hosts.iter().zip(shares);
    let shares: Vec<usize> = usable.map(|(h, s)| if h.usable { s } else { 0 }).collect();
    let marks = Turns::new(&shares).take(length);
    marks.filter_map(|n| hosts.get(n)).map(|h| h.mark).collect()
}

/// The slots of usable owners stay; those of others are lent to usable hosts in turn.
fn lend_in_turns(hosts: &[Candidate], owners: impl Iterator<Item = usize>) -> Vec<u32> {
    let usable = hosts.iter().zip(shares(hosts));
    let shares: Vec<usize> = usable.map(|(h, s)| if h.usable { s } else { 0 }).collect();
    let mut turns = Turns::new(&shares);
    owners
        .filter_map(|owner| {
            let owner = hosts.get(owner).filter(|h| h.usable);
            owner.or_else(|| hosts.get(turns.next()?))
        })
        .map(|h| h.mark)
        .collect()
}

/// A pick list of [`least_states`] after hosts changed: those that went get nothing any more.
pub fn without_lost(picks: &[u32], hosts: &[Candidate]) -> Vec<u32> {
    let place = |mark: &u32| hosts.iter().position(|h| h.mark == *mark);
    lend_in_turns(
        hosts,
        picks.iter().map(|mark| place(mark).unwrap_or(usize::MAX)),
    )
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

/// Length of a hash table.
pub fn hash_length(hosts: &[Candidate]) -> usize {
    let weights: usize = hosts.iter().map(|h| usize::from(h.weight.max(1))).sum();
    prime((weights * HASH_SLOTS).min(SLOTS_MAX))
}

/// Hash table: each host of the table owns slots by its weight whether it is up or not; the slots of hosts that are
/// not usable are lent to others one by one. So only clients of a failed host move, and they come back with it.
pub fn hash_table(hosts: &[Candidate], key: &[u8; 16]) -> Vec<u32> {
    let owners = maglev(hosts, key, hash_length(hosts));
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
    let mut load: Vec<(u64, u64, u32)> = hosts
        .iter()
        .filter(|h| h.usable)
        .map(|h| (states(h.mark), u64::from(h.weight.max(1)), h.mark))
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

    fn tally(slots: &[u32]) -> BTreeMap<u32, usize> {
        let mut tally = BTreeMap::new();
        slots
            .iter()
            .for_each(|m| *tally.entry(*m).or_default() += 1);
        tally
    }

    #[test]
    fn round_robin_mixes_weights() {
        let [a, b, c] = [0x1001, 0x1002, 0x1003];
        assert_eq!(round_robin(&hosts(&[1, 1, 1])), [a, b, c, a, b, c]);
        let slots = round_robin(&hosts(&[3, 2, 1]));
        assert_eq!(tally(&slots), BTreeMap::from([(a, 30), (b, 20), (c, 10)]));
        assert!(slots[..6].windows(2).all(|w| w[0] != w[1]), "{slots:x?}");
        assert!(slots.chunks(6).all(|six| *six == slots[..6]), "{slots:x?}");
        assert_eq!(round_robin(&hosts(&[10, 10])), [a, b]);
        assert_eq!(round_robin(&hosts(&[7])), [a]);
        assert!(round_robin(&[]).is_empty());
    }

    #[test]
    fn a_slot_fits_into_a_mark_whatever_the_weights() {
        let mut mixed = vec![1; 4000];
        mixed.extend([256; 90]);
        for weights in [vec![256; 100], vec![1; 4095], mixed, vec![256, 255, 1]] {
            let hosts = hosts(&weights);
            let slots = round_robin(&hosts);
            assert!(!slots.is_empty() && slots.len() < 4096, "{}", slots.len());
            assert_eq!(slots.len(), length(&hosts));
            assert_eq!(tally(&slots).len(), hosts.len());
            assert!(hash_length(&hosts) < 4096);
        }
    }

    #[test]
    fn hosts_alternate_when_one_of_few_is_away() {
        let mut all = hosts(&[1, 1, 1]);
        all[1].usable = false;
        let [a, c] = [0x1001, 0x1003];
        assert_eq!(round_robin(&all), [a, c, a, c, a, c]);
        all[0].usable = false;
        assert_eq!(round_robin(&all), [c; 6]);
        all[2].usable = false;
        assert!(round_robin(&all).is_empty());
        assert_eq!(length(&all), 6);
    }

    #[test]
    fn only_slots_of_a_lost_host_change_and_shares_stay_exact() {
        let mut all = hosts(&[1; 10]);
        let before = round_robin(&all);
        assert_eq!(before.len(), 90);
        all[3].usable = false;
        let during = round_robin(&all);
        for (a, b) in before.iter().zip(&during) {
            assert!(a == b || *a == all[3].mark);
        }
        assert!(tally(&during).values().all(|n| *n == 10), "{during:x?}");
        all[7].usable = false;
        let shares = tally(&round_robin(&all));
        assert!(shares.values().all(|n| (11..=12).contains(n)), "{shares:?}");
        // Weights that no short list can do justice to.
        let mut many = hosts(&(1..=100).collect::<Vec<u16>>());
        many[99].usable = false;
        let slots = round_robin(&many);
        assert_eq!(slots.len(), length(&many));
        assert!(!slots.contains(&many[99].mark));
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
        let lent = tally(&during);
        let average = during.len() / 9;
        assert!(lent.values().all(|n| *n < average * 13 / 10), "{lent:?}");
        all[3].usable = true;
        assert_eq!(hash_table(&all, &KEY), before);
    }

    #[test]
    fn hash_table_obeys_weights_and_key() {
        let table = hash_table(&hosts(&[3, 1]), &KEY);
        let shares = tally(&table);
        let three = shares[&0x1001] as f64 / shares[&0x1002] as f64;
        assert!((2.9..3.1).contains(&three), "{shares:?}");
        assert_ne!(table, hash_table(&hosts(&[3, 1]), b"another key 0123"));
    }

    #[test]
    fn least_states_fills_the_gap() {
        let hosts = hosts(&[1, 1]);
        let slots = least_states(&hosts, |mark| if mark == 0x1001 { 50 } else { 0 }, 10);
        assert_eq!(slots.len(), PICKS_MIN);
        assert!(slots[..50].iter().all(|m| *m == 0x1002));
        assert_eq!(tally(&slots[50..]).len(), 2);
        assert_eq!(least_states(&hosts, |_| 7, 10), [0x1001, 0x1002]);
        // A host that goes while its list is in force.
        let mut lost = hosts.clone();
        lost[1].usable = false;
        assert_eq!(without_lost(&slots, &lost), [0x1001; PICKS_MIN]);
    }
}
