//! What all sessions of a relay process share.
//! Owns clock, scratch buffer, random numbers, session registry, counters and the running configuration.
//! Must never be shared with another thread, and its buffer never be held across an `await`.

use super::access::Outlets;
use super::clients::{Clients, Limit, Place, Room};
use super::counters::Counters;
use super::forward::Forwards;
use super::generation::Generation;
use super::http;
use super::queue::Queues;
use super::refused::Refused;
use super::registry::Registry;
use super::relays::Relay;
use super::seat::Seat;
use super::splice::Pool;
use super::target::Lookups;
use crate::link::{Peer, Sender, Slot};
use crate::options::Options;
use backends::sys::datagrams::Batch;
use conf::limits;
use siphasher::sip::SipHasher24;
use std::cell::{Cell, RefCell};
use std::hash::Hasher;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The state of one relay process.
#[derive(Debug)]
pub struct Context {
    /// Which process this is.
    pub me: Peer,
    /// Towards the other roles.
    pub link: Sender,
    /// The daemon's options.
    pub options: Arc<Options>,
    /// Time, read once a second.
    pub clock: Clock,
    /// Bytes on their way within one poll. Borrow it, pass them on, let go.
    pub scratch: RefCell<Box<[u8]>>,
    /// Room for datagrams, once a listener for them is served.
    pub(super) batch: RefCell<Option<Batch>>,
    /// Random numbers.
    pub random: Random,
    /// Random number of this run of the process: sessions are named after it.
    pub process: u64,
    /// Targets of access logs.
    pub access: Outlets,
    /// Running sessions.
    pub sessions: Registry,
    /// Their counts by relay and client.
    pub(super) clients: Rc<Clients>,
    /// What has happened so far.
    pub counters: Counters,
    /// Connections refused for a limit.
    pub refused: Refused,
    /// Descriptors the process may open.
    descriptors: usize,
    /// Pipes for bulk transfers.
    pub pipes: Pool,
    /// What HTTP sessions share.
    pub http: http::Shared,
    /// Connections whose PROXY header has not come yet.
    pub(super) headers_awaited: Cell<usize>,
    /// This process's place among the others.
    pub seat: Rc<Seat>,
    /// Sessions that wait for a host with room.
    pub queues: Queues,
    /// Questions to the packet filter engine.
    pub lookups: Lookups,
    /// Redirects served in user space.
    pub forwards: Forwards,
    generation: RefCell<Rc<Generation>>,
}

impl Context {
    /// The state of a process that has no configuration yet.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(me: Peer, link: Sender, options: Arc<Options>) -> Result<Rc<Self>, String> {
        let random = Random::new()?;
        let seat = Rc::new(Seat::new(me.instance));
        Ok(Rc::new(Context {
            me,
            link,
            options,
            clock: Clock::new(),
            scratch: RefCell::new(vec![0; limits::RELAY_SCRATCH].into_boxed_slice()),
            batch: RefCell::default(),
            process: random.next(),
            random,
            access: Outlets::default(),
            sessions: Registry::default(),
            clients: Clients::new(&seat),
            counters: Counters::default(),
            refused: Refused::default(),
            descriptors: descriptors(),
            pipes: Pool::default(),
            http: http::Shared::default(),
            headers_awaited: Cell::new(0),
            queues: Queues::default(),
            lookups: Lookups::default(),
            forwards: Forwards::default(),
            generation: RefCell::new(Rc::new(Generation::none(&seat))),
            seat,
        }))
    }

    /// The running configuration.
    pub fn generation(&self) -> Rc<Generation> {
        Rc::clone(&self.generation.borrow())
    }

    /// A place for a session of `client`, if it may begin; `descriptor` is the number of its socket, the lowest that
    /// was free. Counts those that may not.
    pub fn admit(&self, relay: &Relay, client: IpAddr, descriptor: RawFd) -> Option<Place> {
        let spare = self.descriptors / limits::CROWDED_PART;
        let room = Room {
            used: self.sessions.len() + self.headers_awaited.get(),
            most: limits::SESSIONS_MAX,
            short: usize::try_from(descriptor)
                .is_ok_and(|number| number + spare >= self.descriptors),
        };
        self.judge(&self.clients, relay, client, room)
    }

    /// The same for a flow of a listener that has `used` of them, counted in `clients`.
    pub fn admit_flow(
        &self,
        clients: &Rc<Clients>,
        relay: &Relay,
        client: IpAddr,
        used: usize,
    ) -> Option<Place> {
        // Each has a socket; those of other listeners and of sessions must have room too.
        let room = Room {
            used,
            most: limits::UDP_FLOWS_MAX.min(self.descriptors / 2),
            short: false,
        };
        self.judge(clients, relay, client, room)
    }

    fn judge(
        &self,
        clients: &Rc<Clients>,
        relay: &Relay,
        client: IpAddr,
        room: Room,
    ) -> Option<Place> {
        clients
            .admit(relay.config.id, relay.config.session_max, client, room)
            .inspect_err(|limit| self.refuse(relay, client, *limit))
            .ok()
    }

    /// Counts what was refused for a limit.
    pub fn refuse(&self, relay: &Relay, client: IpAddr, limit: Limit) {
        self.refused.note(&relay.config.name, client, limit);
    }

    /// What is served on a listener now.
    pub fn served(&self, slot: &Slot) -> Option<Rc<Relay>> {
        match slot {
            Slot::Relay(id) => self.generation.borrow().relays.get(id).cloned(),
            _ => self.forwards.relay(slot),
        }
    }

    /// Replaces the running configuration; answers the former.
    pub fn switch(&self, generation: Rc<Generation>) -> Rc<Generation> {
        self.generation.replace(generation)
    }
}

/// Most descriptors of the process.
fn descriptors() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| {
        usize::try_from(soft).unwrap_or(usize::MAX)
    })
}

/// Seconds since the process began, kept so that reading the time costs no system call.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    seconds: Cell<u32>,
}

impl Clock {
    fn new() -> Self {
        Clock {
            start: Instant::now(),
            seconds: Cell::new(0),
        }
    }

    /// The second that the last tick saw.
    pub fn seconds(&self) -> u32 {
        self.seconds.get()
    }

    /// Reads the system's clock.
    pub fn tick(&self) -> u32 {
        let seconds = u32::try_from(self.start.elapsed().as_secs()).unwrap_or(u32::MAX);
        self.seconds.set(seconds);
        seconds
    }

    /// Time from the stamp `since` (see [`Clock::seconds`]) until now.
    pub fn since(&self, since: u32) -> Duration {
        Duration::from_secs(u64::from(self.seconds().saturating_sub(since)))
    }
}

/// Random numbers nobody outside can foresee: SipHash of a counter under keys of the system.
#[derive(Debug)]
pub struct Random {
    key: [u8; 16],
    count: Cell<u64>,
}

impl Random {
    fn new() -> Result<Self, String> {
        let mut key = [0; 16];
        backends::sys::random::fill(&mut key).map_err(|e| format!("no random numbers: {e}"))?;
        Ok(Random {
            key,
            count: Cell::new(0),
        })
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u64(count);
        hasher.finish()
    }
}
