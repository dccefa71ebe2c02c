//! The clients of relays: how many sessions each has, over all relay processes.
//! Owns a table of places for each process; a client has one there while it has sessions of a relay that limits them.
//! Must never move a client from one place to another: other processes read while the owner writes.
//!
//! A client is found by a number made of its relay and address under a key of the daemon's own, so nobody outside can
//! choose clients that share a place. A place is named before it counts, and counts nothing once it is left: of two
//! processes that let the same client in at the same time, at least one sees the other.

use super::{Board, CLIENTS, PROCESSES, insist, zero};
use conf::limits;
use conf::model::RelayId;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

/// Places that a client may have in a process's table: the more, the fuller the table can be.
const WAYS: usize = 8;
pub(super) const SETS: usize = limits::SHARED_CLIENTS_MAX / WAYS;
/// A place has two words of name and one of count. Those of a set lie together, names first.
const SET: usize = 3 * WAYS;
/// Words of one process.
pub(super) const WORDS: usize = SETS * SET;

/// A client of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub(super) u64);

/// How a process fared that wants one more session of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It has it, counted at this place.
    At(u32),
    /// The client has as many as it may.
    Full,
    /// No place is left for the client: nobody counts it here.
    Unseen,
}

/// One place.
struct Place<'a> {
    low: &'a AtomicU32,
    high: &'a AtomicU32,
    count: &'a AtomicU32,
}

impl Place<'_> {
    fn is(&self, client: Client) -> bool {
        let name = u64::from(self.high.load(SeqCst)) << 32 | u64::from(self.low.load(SeqCst));
        name == client.0
    }

    /// Only while it counts nothing.
    fn rename(&self, client: Client) {
        let (high, low) = (client.0 >> 32, client.0 & u64::from(u32::MAX));
        self.high.store(high as u32, SeqCst);
        self.low.store(low as u32, SeqCst);
    }

    fn used(&self) -> bool {
        self.count.load(SeqCst) > 0
    }
}

impl Board {
    /// The client of a relay with that address.
    pub fn client(&self, relay: RelayId, address: IpAddr) -> Client {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u32(relay.0);
        match address {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        Client(hasher.finish())
    }

    /// Place `index` of a process.
    fn place(&self, process: usize, index: usize) -> Option<Place<'_>> {
        if process >= PROCESSES || index >= SETS * WAYS {
            return None;
        }
        let first = CLIENTS + process * WORDS + index / WAYS * SET + index % WAYS;
        Some(Place {
            low: self.words.get(first)?,
            high: self.words.get(first + WAYS)?,
            count: self.words.get(first + 2 * WAYS)?,
        })
    }

    /// The places where a client may be.
    fn places(&self, process: usize, client: Client) -> impl Iterator<Item = (usize, Place<'_>)> {
        let set = client.0 as usize % SETS;
        (set * WAYS..(set + 1) * WAYS).filter_map(move |at| Some((at, self.place(process, at)?)))
    }

    /// Sessions of a client, of all processes.
    pub fn of_client(&self, client: Client) -> u32 {
        let places = self
            .processes()
            .flat_map(|process| self.places(process, client))
            .map(|(_, place)| place)
            .filter(|place| place.is(client));
        let counts = places.map(|place| {
            let count = place.count.load(SeqCst);
            // Meanwhile it may have become another's.
            if place.is(client) { count } else { 0 }
        });
        counts.fold(0, u32::saturating_add)
    }

    /// Process `number` wants to begin a session of a client that may have at most `max`.
    pub fn count_client(&self, number: u32, client: Client, max: u32) -> Counted {
        let process = number as usize;
        let own = self
            .places(process, client)
            .find(|(_, place)| place.used() && place.is(client));
        let free = || {
            self.places(process, client)
                .find(|(_, place)| !place.used())
        };
        let Some((index, place)) = own.or_else(free) else {
            return Counted::Unseen;
        };
        if !place.used() {
            place.rename(client);
        }
        match insist(number, place.count, Some(max), || self.of_client(client)) {
            true => u32::try_from(index).map_or(Counted::Unseen, Counted::At),
            false => Counted::Full,
        }
    }

    /// A session of process `number` ended that was counted at this place.
    pub fn uncount_client(&self, number: u32, index: u32) {
        if let Some(place) = self.place(number as usize, index as usize) {
            super::down(place.count);
        }
    }

    /// Forgets the clients of a process that is no more. Reads its whole table, which on Linux is in memory from then on.
    pub(super) fn clear_clients(&self, process: usize) {
        for index in 0..SETS * WAYS {
            zero(self.place(process, index).map(|place| place.count));
        }
    }
}
