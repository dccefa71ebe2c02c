//! How many sessions each client and each relay has, and whether one more may begin.
//! Owns these counts, the limits they are held against, and the word about connections that were refused.
//! Must never remember a client that has no session.

use conf::limits;
use conf::model::{RelayId, SessionMax};
use protocols::log::limit as words;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// What stands against one more session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The process has as many as it can have.
    Process,
    /// `session max` of the relay.
    Relay,
    /// `session max per client` of the relay.
    Client,
    /// The process is crowded, and this client has more than its share.
    Share,
}

impl Limit {
    /// All of them.
    pub const ALL: [Limit; 4] = [Limit::Process, Limit::Relay, Limit::Client, Limit::Share];

    /// Label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            Limit::Process => "process",
            Limit::Relay => "relay",
            Limit::Client => "client",
            Limit::Share => "share",
        }
    }

    /// Text in the log.
    fn text(self) -> &'static str {
        match self {
            Limit::Process => "too many sessions of the process",
            Limit::Relay => "too many sessions of the relay",
            Limit::Client => "too many sessions of the client",
            Limit::Share => "too many sessions, most of the client",
        }
    }
}

/// How full the process is.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Sessions it has.
    pub used: usize,
    /// Sessions it may have.
    pub most: usize,
    /// Descriptors are nearly used up.
    pub short: bool,
}

/// The counts of one process, or of one UDP listener.
#[derive(Debug, Default)]
pub struct Clients {
    by_client: RefCell<HashMap<(RelayId, IpAddr), u32>>,
    by_relay: RefCell<HashMap<RelayId, u32>>,
}

impl Clients {
    /// Whether a session of this client may begin; `max` is this process's part.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(
        &self,
        relay: RelayId,
        max: SessionMax,
        client: IpAddr,
        room: Room,
    ) -> Result<(), Limit> {
        if room.used >= room.most {
            return Err(Limit::Process);
        }
        if max.all.is_some_and(|max| self.of_relay(relay) >= max) {
            return Err(Limit::Relay);
        }
        let crowded = room.short || room.used >= room.most - room.most / limits::CROWDED_PART;
        if !crowded && max.client.is_none() {
            return Ok(());
        }
        let key = (relay, network(client));
        let count = self.by_client.borrow().get(&key).copied().unwrap_or(0);
        if max.client.is_some_and(|max| count >= max) {
            return Err(Limit::Client);
        }
        if crowded && count as usize > room.used / limits::CROWDED_SHARE {
            return Err(Limit::Share);
        }
        Ok(())
    }

    /// A session begins.
    pub fn enter(&self, relay: RelayId, client: IpAddr) {
        let key = (relay, network(client));
        *self.by_client.borrow_mut().entry(key).or_default() += 1;
        *self.by_relay.borrow_mut().entry(relay).or_default() += 1;
    }

    /// It ended.
    pub fn leave(&self, relay: RelayId, client: IpAddr) {
        let mut clients = self.by_client.borrow_mut();
        less(&mut clients, (relay, network(client)));
        if clients.is_empty() {
            // Memory of a burst is given back.
            *clients = HashMap::new();
        }
        less(&mut self.by_relay.borrow_mut(), relay);
    }

    /// Running sessions of a relay.
    pub fn of_relay(&self, relay: RelayId) -> u32 {
        self.by_relay.borrow().get(&relay).copied().unwrap_or(0)
    }
}

fn less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 network of [`limits::CLIENT_PREFIX_V6`] bits.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - limits::CLIENT_PREFIX_V6);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
        v4 => v4,
    }
}

/// Connections that were refused, and what is to be said of them.
#[derive(Debug, Default)]
pub struct Refused {
    counts: [Cell<u64>; Limit::ALL.len()],
    untold: RefCell<Vec<Untold>>,
    told: Cell<Option<u32>>,
}

/// Connections that are told of in one line.
#[derive(Debug)]
struct Untold {
    /// The relay and its limit; `None` = of several.
    cause: Option<(String, Limit)>,
    /// The client; `None` = of several.
    client: Option<IpAddr>,
    count: u64,
}

impl Refused {
    /// Counts a refused connection: in the line of its client, else in that of its relay and limit, else in the last.
    pub fn note(&self, relay: &str, client: IpAddr, limit: Limit) {
        if let Some(count) = self.counts.get(limit as usize) {
            count.set(count.get().wrapping_add(1));
        }
        let mut untold = self.untold.borrow_mut();
        let cause = Some((relay.to_owned(), limit));
        let lines = [
            (cause.clone(), Some(network(client))),
            (cause, None),
            (None, None),
        ];
        for (level, (cause, client)) in lines.into_iter().enumerate() {
            let same = |u: &&mut Untold| u.client == client && u.cause == cause;
            if let Some(known) = untold.iter_mut().find(same) {
                known.count += 1;
                return;
            }
            if untold.len() < limits::REFUSED_LOG_LINES * (level + 1) {
                untold.push(Untold {
                    cause,
                    client,
                    count: 1,
                });
                return;
            }
        }
    }

    /// How many were refused for a limit.
    pub fn count(&self, limit: Limit) -> u64 {
        self.counts.get(limit as usize).map_or(0, Cell::get)
    }

    /// The lines to be logged at second `now`: the first at once, more of them at intervals.
    pub fn lines(&self, now: u32) -> Vec<String> {
        let interval = limits::REFUSED_LOG_INTERVAL.as_secs() as u32;
        let due = self.told.get().is_none_or(|told| now >= told + interval);
        if !due || self.untold.borrow().is_empty() {
            return Vec::new();
        }
        self.told.set(Some(now));
        self.untold
            .take()
            .iter()
            .map(|u| match &u.cause {
                Some((relay, limit)) => words::refused(relay, u.client, u.count, limit.text()),
                None => words::refused_elsewhere(u.count),
            })
            .collect()
    }
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

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_version_6() {
        assert_eq!(network(ip("192.0.2.1")), ip("192.0.2.1"));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_eq!(network(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_ne!(network(ip("2001:db8:1:3::")), network(ip("2001:db8:1:2::")));
    }

    #[test]
    fn counts_go_up_and_down_and_leave_nothing_behind() {
        let clients = Clients::default();
        let (one, two) = (RelayId(1), RelayId(2));
        clients.enter(one, ip("2001:db8::1"));
        clients.enter(one, ip("2001:db8::2"));
        clients.enter(two, ip("192.0.2.1"));
        assert_eq!((clients.of_relay(one), clients.of_relay(two)), (2, 1));
        assert_eq!(clients.by_client.borrow().len(), 2);
        clients.leave(one, ip("2001:db8::2"));
        clients.leave(one, ip("2001:db8::1"));
        clients.leave(two, ip("192.0.2.1"));
        // Never below nothing.
        clients.leave(two, ip("192.0.2.1"));
        assert!(clients.by_client.borrow().is_empty());
        assert!(clients.by_relay.borrow().is_empty());
    }

    #[test]
    fn a_crowded_process_keeps_its_rest_for_clients_with_few() {
        let clients = Clients::default();
        let relay = RelayId(1);
        let (greedy, modest) = (ip("192.0.2.1"), ip("192.0.2.2"));
        for _ in 0..90 {
            clients.enter(relay, greedy);
        }
        clients.enter(relay, modest);
        let admit = |max, client, used, short| {
            let room = Room {
                used,
                most: 160,
                short,
            };
            clients.admit(relay, max, client, room)
        };
        let open = SessionMax::default();
        assert_eq!(admit(open, greedy, 149, false), Ok(()));
        assert_eq!(admit(open, greedy, 150, false), Err(Limit::Share));
        assert_eq!(admit(open, greedy, 100, true), Err(Limit::Share));
        assert_eq!(admit(open, modest, 159, true), Ok(()));
        assert_eq!(admit(open, modest, 160, false), Err(Limit::Process));
        let client = SessionMax {
            all: None,
            client: Some(2),
        };
        assert_eq!(admit(client, greedy, 91, false), Err(Limit::Client));
        assert_eq!(admit(client, modest, 91, false), Ok(()));
        let all = SessionMax {
            all: Some(91),
            client: None,
        };
        assert_eq!(admit(all, modest, 91, false), Err(Limit::Relay));
    }

    #[test]
    fn a_flood_is_told_in_few_lines() {
        let refused = Refused::default();
        for n in 0..100 {
            let client = IpAddr::from([192, 0, 2, n]);
            refused.note("www", client, Limit::Client);
            refused.note("www", client, Limit::Client);
        }
        assert_eq!(refused.count(Limit::Client), 200);
        assert_eq!(refused.count(Limit::Relay), 0);
        let lines = refused.lines(5);
        assert_eq!(lines.len(), limits::REFUSED_LOG_LINES + 1);
        assert!(lines[0].contains("2 connections of 192.0.2.0 refused"));
        assert!(lines[8].contains("184 connections of other clients"));
        refused.note("www", ip("192.0.2.1"), Limit::Relay);
        assert!(refused.lines(6).is_empty());
        assert_eq!(refused.lines(15).len(), 1);
        assert!(refused.lines(40).is_empty());
    }

    #[test]
    fn a_line_names_the_relay_and_the_limit_that_refused() {
        let refused = Refused::default();
        let client = |n| IpAddr::from([192, 0, 2, n]);
        for n in 0..20 {
            refused.note("www", client(n), Limit::Client);
        }
        refused.note("mail", client(1), Limit::Relay);
        refused.note("www", client(1), Limit::Relay);
        refused.note("mail", client(2), Limit::Relay);
        let lines = refused.lines(5);
        assert_eq!(
            lines[limits::REFUSED_LOG_LINES..],
            [
                "relay www: 12 connections of other clients refused: too many sessions of the client",
                "relay mail: 2 connections of other clients refused: too many sessions of the relay",
                "relay www: 1 connection of other clients refused: too many sessions of the relay",
            ]
        );
        // However many relays refuse.
        for n in 0..100 {
            refused.note(&format!("r{n}"), client(1), Limit::Relay);
        }
        let lines = refused.lines(100);
        assert_eq!(lines.len(), 2 * limits::REFUSED_LOG_LINES + 1);
        assert_eq!(
            lines.last().unwrap(),
            "84 connections to other relays refused"
        );
    }
}
