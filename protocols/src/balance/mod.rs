//! Which host gets a connection: the modes of relayd.conf(5), and clients that stay with the same host.
//! Owns the choice itself, over nothing but numbers; [`hash`] makes the number of the hashing modes.
//! Must never know a socket, a clock or a source of randomness: those numbers come in.

mod hash;
mod share;

pub use hash::{Hash, derive_key};
pub use share::{SHARE_FULL, part, ramp};

use conf::model::Mode;

/// Times a hashing mode shifts its number before it takes the next host in order.
const SHIFTS_MAX: usize = 5;

/// The hosts of one table, in file order.
pub trait Hosts {
    /// Number of hosts.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether host `index` may get a new connection.
    fn usable(&self, index: usize) -> bool;

    /// Share of new connections of host `index`, from 1.
    fn weight(&self, index: usize) -> u32;

    /// The same at this moment: less for a host that starts slowly. Hashing modes do not ask for it, as clients keep
    /// their hosts only while shares are what they were.
    fn share(&self, index: usize) -> u32;

    /// Open connections of host `index`.
    fn connections(&self, index: usize) -> u32;

    /// Whether all hosts have the same weight.
    fn even(&self) -> bool;

    /// Whether all hosts have the same share at this moment.
    fn level(&self) -> bool;
}

/// Where round-robin goes on; one per relay, table and process, as in the original.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    next: usize,
    /// Smooth weighted round-robin: what each host is owed. Its sum is always 0.
    credit: Vec<i64>,
}

/// The numbers a choice depends on besides the hosts.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Result of [`Hash::finish`], for the hashing modes.
    pub hash: u64,
    /// A fresh random number, for `random`.
    pub random: u64,
}

/// The host that gets the next connection, or `None` if none is usable.
pub fn choose(mode: Mode, cursor: &mut Cursor, draw: Draw, hosts: &impl Hosts) -> Option<usize> {
    let count = hosts.len();
    if count == 0 {
        return None;
    }
    match mode {
        Mode::RoundRobin if hosts.level() => {
            let index = from(cursor.next.checked_rem(count)?, hosts)?;
            cursor.next = index + 1;
            Some(index)
        }
        Mode::RoundRobin => weighted(cursor, hosts, |_| true),
        Mode::Random => random(draw.random, hosts),
        Mode::LeastConnections | Mode::LeastStates => least(cursor, hosts),
        Mode::SourceHash | Mode::LoadBalance | Mode::Hash => hashed(draw.hash, hosts),
    }
}

/// First usable host at or after `start`, going round once.
fn from(start: usize, hosts: &impl Hosts) -> Option<usize> {
    let count = hosts.len();
    (start..count)
        .chain(0..start.min(count))
        .find(|&i| hosts.usable(i))
}

/// Any usable host, by shares.
fn random(number: u64, hosts: &impl Hosts) -> Option<usize> {
    let usable = || (0..hosts.len()).filter(|&i| hosts.usable(i));
    let share = |i| u64::from(hosts.share(i).max(1));
    let mut rest = number.checked_rem(usable().map(share).sum())?;
    usable().find(|&i| {
        let here = rest < share(i);
        rest = rest.saturating_sub(share(i));
        here
    })
}

/// The host that `number` falls on when hosts are laid out by their shares.
fn spread(number: u64, hosts: &impl Hosts) -> Option<usize> {
    let count = hosts.len();
    if hosts.even() {
        return usize::try_from(number.checked_rem(count as u64)?).ok();
    }
    let total: u64 = (0..count).map(|i| u64::from(hosts.weight(i).max(1))).sum();
    let mut rest = number.checked_rem(total)?;
    (0..count).find(|&i| {
        let weight = u64::from(hosts.weight(i).max(1));
        let here = rest < weight;
        rest = rest.saturating_sub(weight);
        here
    })
}

/// Shift and fall back as the original does, so that a host's failure moves only part of the clients.
fn hashed(hash: u64, hosts: &impl Hosts) -> Option<usize> {
    let mut number = hash;
    let mut last = 0;
    for _ in 0..hosts.len().min(SHIFTS_MAX) {
        last = spread(number, hosts)?;
        if hosts.usable(last) {
            return Some(last);
        }
        number >>= 1;
    }
    from(last, hosts)
}

/// Smooth weighted round-robin: of the usable hosts that `eligible` accepts the one that is owed most.
fn weighted(
    cursor: &mut Cursor,
    hosts: &impl Hosts,
    eligible: impl Fn(usize) -> bool,
) -> Option<usize> {
    if cursor.credit.len() != hosts.len() {
        cursor.credit = vec![0; hosts.len()];
    }
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (index, credit) in cursor.credit.iter_mut().enumerate() {
        if !hosts.usable(index) || !eligible(index) {
            continue;
        }
        let share = i64::from(hosts.share(index).max(1));
        total += share;
        *credit += share;
        if best.is_none_or(|(_, most)| *credit > most) {
            best = Some((index, *credit));
        }
    }
    let (index, _) = best?;
    if let Some(credit) = cursor.credit.get_mut(index) {
        *credit -= total;
    }
    Some(index)
}

/// Fewest connections for its share; equals by turns as their shares are.
fn least(cursor: &mut Cursor, hosts: &impl Hosts) -> Option<usize> {
    let load = |i: usize, other: usize| {
        u64::from(hosts.connections(i)) * u64::from(hosts.share(other).max(1))
    };
    let best = (0..hosts.len())
        .filter(|&i| hosts.usable(i))
        .reduce(|old, new| {
            if load(new, old) < load(old, new) {
                new
            } else {
                old
            }
        })?;
    weighted(cursor, hosts, |i| load(i, best) == load(best, i))
}

#[cfg(test)]
mod tests;
