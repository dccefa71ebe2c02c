//! How many sessions each client and each relay has, and whether one more may begin.
//! Owns these counts of the process, and the limits they are held against; those of all processes are on the board.
//! Must never remember a client that has no session.

use super::seat::Seat;
use crate::board::Counted;
use conf::limits;
use conf::model::{RelayId, SessionMax};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

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
    pub(super) fn text(self) -> &'static str {
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
#[derive(Debug)]
pub struct Clients {
    seat: Rc<Seat>,
    by_client: RefCell<HashMap<(RelayId, IpAddr), u32>>,
    by_relay: RefCell<HashMap<RelayId, u32>>,
}

/// A session's place in all counts, given back when dropped.
#[derive(Debug)]
pub struct Place {
    clients: Rc<Clients>,
    relay: RelayId,
    /// Address or network.
    client: IpAddr,
    /// Where all processes see the client, if its number is limited.
    seen: Option<u32>,
    /// It counts as a session of the relay.
    begun: bool,
}

/// What a client and a relay had in this process before one more.
#[derive(Clone, Copy, Debug)]
struct Before {
    client: u32,
    relay: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let clients = &self.clients;
        let mut by_client = clients.by_client.borrow_mut();
        less(&mut by_client, (self.relay, self.client));
        if by_client.is_empty() {
            // Memory of a burst is given back.
            *by_client = HashMap::new();
        }
        less(&mut clients.by_relay.borrow_mut(), self.relay);
        if self.begun {
            clients.seat.ended(self.relay);
        }
        if let Some(place) = self.seen {
            clients.seat.uncount_client(place);
        }
    }
}

impl Clients {
    /// Counts of a process that has no session yet.
    pub fn new(seat: &Rc<Seat>) -> Rc<Self> {
        Rc::new(Clients {
            seat: Rc::clone(seat),
            by_client: RefCell::default(),
            by_relay: RefCell::default(),
        })
    }

    /// A place for one more session of this client, within the relay's limits, which are those of all processes.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(
        self: &Rc<Self>,
        relay: RelayId,
        max: SessionMax,
        client: IpAddr,
        room: Room,
    ) -> Result<Place, Limit> {
        if room.used >= room.most {
            return Err(Limit::Process);
        }
        // From here on an error gives back what was taken.
        let (mut place, before) = self.enter(relay, network(client));
        if let Some(max) = max.client {
            // Those that began before the relay had this limit are known to their process only.
            if before.client >= max {
                return Err(Limit::Client);
            }
            place.seen = match self.seat.count_client(relay, place.client, max) {
                Counted::At(seen) => Some(seen),
                Counted::Full => return Err(Limit::Client),
                // Rather a client with too many than one with none: it has its limit in this process.
                Counted::Unseen => None,
            };
        }
        let crowded = room.short || room.used >= room.most - room.most / limits::CROWDED_PART;
        if crowded && before.client as usize > room.used / limits::CROWDED_SHARE {
            return Err(Limit::Share);
        }
        // Last: a client that may have no more must not hold a place of the relay's even for a moment.
        place.begun = self.seat.begin(relay, before.relay, max.all);
        match place.begun {
            true => Ok(place),
            false => Err(Limit::Relay),
        }
    }

    /// Counts a session; answers what there was before.
    fn enter(self: &Rc<Self>, relay: RelayId, client: IpAddr) -> (Place, Before) {
        let before = Before {
            client: more(&mut self.by_client.borrow_mut(), (relay, client)),
            relay: more(&mut self.by_relay.borrow_mut(), relay),
        };
        let place = Place {
            clients: Rc::clone(self),
            relay,
            client,
            seen: None,
            begun: false,
        };
        (place, before)
    }

    /// Running sessions of a relay.
    pub fn of_relay(&self, relay: RelayId) -> u32 {
        self.by_relay.borrow().get(&relay).copied().unwrap_or(0)
    }
}

/// One more; answers how many there were.
fn more<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: K) -> u32 {
    let count = counts.entry(key).or_default();
    let before = *count;
    *count = before.saturating_add(1);
    before
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
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - limits::CLIENT_PREFIX_V6);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
        v4 => v4,
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
    use crate::board::Board;
    use std::os::fd::AsFd;

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

    fn place(clients: &Rc<Clients>, relay: RelayId, client: &str) -> Place {
        clients
            .admit(relay, SessionMax::default(), ip(client), ROOMY)
            .unwrap()
    }

    #[test]
    fn counts_go_up_and_down_and_leave_nothing_behind() {
        let clients = Clients::new(&Rc::default());
        let (one, two) = (RelayId(1), RelayId(2));
        let first = place(&clients, one, "2001:db8::1");
        let second = place(&clients, one, "2001:db8::2");
        let third = place(&clients, two, "192.0.2.1");
        assert_eq!((clients.of_relay(one), clients.of_relay(two)), (2, 1));
        assert_eq!(clients.by_client.borrow().len(), 2);
        drop((first, second, third));
        assert!(clients.by_client.borrow().is_empty());
        assert!(clients.by_relay.borrow().is_empty());
    }

    #[test]
    fn a_crowded_process_keeps_its_rest_for_clients_with_few() {
        let clients = Clients::new(&Rc::default());
        let relay = RelayId(1);
        let (greedy, modest) = ("192.0.2.1", "192.0.2.2");
        let mut held: Vec<_> = (0..90).map(|_| place(&clients, relay, greedy)).collect();
        held.push(place(&clients, relay, modest));
        let admit = |max, client, used, short| {
            let room = Room {
                used,
                most: 160,
                short,
            };
            clients.admit(relay, max, ip(client), room).map(drop)
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
        // What was refused left nothing behind.
        assert_eq!(clients.of_relay(relay), 91);
    }

    const ROOMY: Room = Room {
        used: 0,
        most: 1000,
        short: false,
    };

    /// The counts of three processes with a board, and the board.
    fn three() -> (Vec<Rc<Clients>>, Board) {
        let descriptor = Board::create().unwrap();
        let board = || Board::map(descriptor.as_fd()).unwrap();
        let clients = |number| {
            let seat = Rc::new(Seat::new(number));
            seat.take(board());
            seat.set_processes(3);
            Clients::new(&seat)
        };
        ((0..3).map(clients).collect(), board())
    }

    #[test]
    fn without_a_limit_no_place_of_the_board_is_taken() {
        let (clients, board) = three();
        let (relay, address) = (RelayId(1), ip("192.0.2.1"));
        let admit = |number: usize, max| {
            let max = SessionMax {
                all: None,
                client: max,
            };
            clients[number].admit(relay, max, address, ROOMY)
        };
        let held: Vec<_> = (0..3).map(|_| admit(0, None).unwrap()).collect();
        assert!(held.iter().all(|place| place.seen.is_none()));
        assert_eq!(board.of_client(board.client(relay, address)), 0);
        assert_eq!(board.sessions(relay), 3);
        // A limit that comes later finds them in their own process.
        assert_eq!(admit(0, Some(3)).map(drop), Err(Limit::Client));
        assert_eq!(admit(1, Some(3)).map(drop), Ok(()));
        drop(held);
        assert_eq!(board.sessions(relay), 0);
    }

    #[test]
    fn a_client_at_its_limit_takes_nothing_from_the_relay() {
        let (clients, board) = three();
        let (relay, one, two) = (RelayId(1), ip("192.0.2.1"), ip("192.0.2.2"));
        let max = SessionMax {
            all: Some(3),
            client: Some(2),
        };
        let admit = |number: usize, client| clients[number].admit(relay, max, client, ROOMY);
        let mut held: Vec<_> = (0..2).map(|n| admit(n, one).unwrap()).collect();
        held.push(admit(2, two).unwrap());
        // Both limits are reached: it is the client's that is looked at first.
        assert_eq!(admit(2, one).map(drop), Err(Limit::Client));
        // Whom the relay has no room for, that client's place is free again.
        for _ in 0..5 {
            assert_eq!(admit(1, two).map(drop), Err(Limit::Relay));
        }
        assert_eq!(board.of_client(board.client(relay, two)), 1);
        assert_eq!(board.sessions(relay), 3);
        held.remove(0);
        assert_eq!(admit(1, two).map(drop), Ok(()));
        drop(held);
        assert_eq!(board.sessions(relay), 0);
    }

    #[test]
    fn limits_hold_over_processes_and_a_session_counts_where_it_began() {
        let (clients, _board) = three();
        let admit = |number: usize, client: &str, max| {
            clients[number].admit(RelayId(1), max, ip(client), ROOMY)
        };
        let mut max = SessionMax {
            all: Some(5),
            client: Some(4),
        };
        let (one, two) = ("192.0.2.1", "192.0.2.2");
        let mut held: Vec<_> = (0..4).map(|n| admit(n % 3, one, max).unwrap()).collect();
        for number in 0..3 {
            assert_eq!(admit(number, one, max).map(drop), Err(Limit::Client));
        }
        held.push(admit(1, two, max).unwrap());
        assert_eq!(admit(2, two, max).map(drop), Err(Limit::Relay));
        // A place is free for whichever process comes next.
        held.remove(0);
        assert_eq!(admit(2, one, max).map(drop), Ok(()));
        // A limit that is changed later knows the sessions that began before.
        max.client = Some(3);
        assert_eq!(admit(0, one, max).map(drop), Err(Limit::Client));
        // Relays beyond the board have parts that add up.
        let far = RelayId(u32::MAX);
        let places: Vec<_> = (0..12)
            .filter_map(|n| clients[n % 3].admit(far, max, ip(two), ROOMY).ok())
            .collect();
        assert_eq!(places.len(), 3);
        max.client = None;
        let more: Vec<_> = (0..12)
            .filter_map(|n| clients[n % 3].admit(far, max, ip(two), ROOMY).ok())
            .collect();
        assert_eq!(places.len() + more.len(), 5);
    }
}
