//! `check icmp`: bursts of echo requests, and the replies.
//! Owns the ICMP sockets and who still owes a reply.
//! Must never believe a reply from another address, without our secret, or after its time.

use super::wheel::Wheel;
use backends::sys::check_socket::EchoSocket;
use conf::limits::CHECK_SLOT;
use conf::model::{Address, HostId};
use protocols::check::Outcome;
use protocols::check::icmp::{self, Echo, Family};
use protocols::host::Reason;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::task::Context;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// Requests sent before replies are looked for: on a fast network they overtake a large burst.
const BURST: usize = 128;
/// Packets read in one go, so that a flood cannot hold up everything else.
const READS: usize = 2048;

/// A request to send.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The host.
    pub host: HostId,
    /// Number of the check.
    pub serial: u32,
    /// Where it is.
    pub address: Address,
    /// TTL, 0 = system default.
    pub ip_ttl: u8,
    /// When the check has failed.
    pub deadline: Instant,
}

/// A decided check.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// The host.
    pub host: HostId,
    /// Number of the check.
    pub serial: u32,
    /// Result.
    pub outcome: Outcome,
}

/// A socket, and how the event loop waits on it.
#[derive(Debug)]
struct Line {
    socket: EchoSocket,
    waiter: UdpSocket,
}

/// The sockets and the requests under way.
#[derive(Debug)]
pub struct Echoes {
    v4: Option<Line>,
    v6: Option<Line>,
    id: u16,
    secret: u64,
    flights: BTreeMap<HostId, Request>,
    deadlines: Wheel<(HostId, u32)>,
    unsent: VecDeque<Request>,
    retry: Option<Instant>,
    decided: Vec<Decided>,
}

impl Echoes {
    /// No sockets yet. `secret` must be unpredictable.
    pub fn new(now: Instant, secret: u64) -> Echoes {
        Echoes {
            v4: None,
            v6: None,
            id: (std::process::id() & 0xffff) as u16,
            secret,
            flights: BTreeMap::new(),
            deadlines: Wheel::new(now),
            unsent: VecDeque::new(),
            retry: None,
            decided: Vec::new(),
        }
    }

    /// Takes a socket, in place of an earlier one of its family.
    ///
    /// # Errors
    /// It is no ICMP socket.
    pub fn adopt(&mut self, descriptor: OwnedFd) -> io::Result<()> {
        let socket = EchoSocket::adopt(descriptor)?;
        let place = match socket.family() {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        let waiter = UdpSocket::from_std(socket.waiter()?)?;
        *place = Some(Line { socket, waiter });
        Ok(())
    }

    fn line(&self, family: Family) -> Option<&Line> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    fn socket(&self, family: Family) -> Option<&EchoSocket> {
        self.line(family).map(|line| &line.socket)
    }

    /// Queues requests; they leave with the next [`Echoes::burst`].
    pub fn ask(&mut self, request: Request) {
        self.deadlines
            .put(request.deadline, (request.host, request.serial));
        self.flights.insert(request.host, request);
        self.unsent.push_back(request);
    }

    /// Sends what is queued, looking for replies in between.
    pub fn burst(&mut self, now: Instant) {
        self.retry = None;
        let mut since_look = 0;
        while let Some(request) = self.unsent.pop_front() {
            let current = self.flights.get(&request.host);
            if current.is_none_or(|flight| flight.serial != request.serial) {
                continue;
            }
            match self.send(request) {
                Ok(()) => since_look += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent.push_front(request);
                    self.retry = Some(now + CHECK_SLOT);
                    break;
                }
                Err(_) => self.decide(request.host, Outcome::down(Reason::IcmpWriteTimeout)),
            }
            if since_look == BURST {
                since_look = 0;
                self.receive_all();
            }
        }
        self.receive_all();
    }

    fn send(&self, request: Request) -> io::Result<()> {
        let family = family(request.address.ip);
        let socket = self.socket(family).ok_or(io::ErrorKind::NotFound)?;
        let echo = Echo {
            host: request.host,
            serial: request.serial,
            secret: self.secret,
        };
        let packet = icmp::request(family, self.id, echo);
        socket.send(&packet, request.address, request.ip_ttl)
    }

    /// Takes the replies that wait, and has `cx` woken for later ones.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        for family in [Family::V4, Family::V6] {
            if !self.poll_family(family, cx) {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// `false`: there may be more.
    fn poll_family(&mut self, family: Family, cx: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            let Some(line) = self.line(family) else {
                return true;
            };
            if line.waiter.poll_recv_ready(cx).is_pending() {
                return true;
            }
            let mut buffer = [0; icmp::ANSWER_MAX];
            let received = line
                .waiter
                .try_io(Interest::READABLE, || line.socket.receive(&mut buffer));
            // Another error is of an earlier request: its deadline decides.
            if let Ok((length, from)) = received {
                self.reply(family, &buffer, length, from);
            }
        }
        false
    }

    fn receive_all(&mut self) {
        for family in [Family::V4, Family::V6] {
            for _ in 0..READS {
                let mut buffer = [0; icmp::ANSWER_MAX];
                let Some(socket) = self.socket(family) else {
                    break;
                };
                match socket.receive(&mut buffer) {
                    Ok((length, from)) => self.reply(family, &buffer, length, from),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {}
                }
            }
        }
    }

    fn reply(&mut self, family: Family, buffer: &[u8], length: usize, from: Option<IpAddr>) {
        let Some(socket) = self.socket(family) else {
            return;
        };
        let id = socket.own_id().then_some(self.id);
        let packet = buffer.get(..length).unwrap_or_default();
        let Some(echo) = icmp::reply(family, socket.ip_header(), id, packet) else {
            return;
        };
        let ours = echo.secret == self.secret
            && self.flights.get(&echo.host).is_some_and(|flight| {
                flight.serial == echo.serial && Some(flight.address.ip) == from
            });
        if ours {
            self.decide(echo.host, Outcome::up(Reason::IcmpOk));
        }
    }

    fn decide(&mut self, host: HostId, outcome: Outcome) {
        if let Some(flight) = self.flights.remove(&host) {
            self.decided.push(Decided {
                host,
                serial: flight.serial,
                outcome,
            });
        }
    }

    /// When [`Echoes::expire`] or [`Echoes::burst`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        [self.deadlines.next(), self.retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Fails the requests whose time is over.
    pub fn expire(&mut self, now: Instant) {
        for (host, serial) in self.deadlines.take(now) {
            let current = self.flights.get(&host);
            if current.is_some_and(|flight| flight.serial == serial) {
                self.decide(host, Outcome::down(Reason::IcmpReadTimeout));
            }
        }
    }

    /// Takes the checks decided since the last call.
    pub fn decided(&mut self) -> Vec<Decided> {
        std::mem::take(&mut self.decided)
    }

    /// Forgets a host's request.
    pub fn forget(&mut self, host: HostId) {
        self.flights.remove(&host);
    }
}

/// The family of an address.
pub fn family(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}
