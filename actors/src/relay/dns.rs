//! DNS over UDP: each query goes to a host under an id and a port of our own, and its answer back to the client.
//! Owns the sockets towards servers: several per server, with ports that change.
//! Must never accept an answer that no query asked for.

use super::connect::{self, Choice};
use super::context::Context;
use super::counters::Lost;
use super::relays::Relay;
use super::session::{Ended, From, Session, Stamps};
use super::sockets;
use super::udp_actor::{Client, Listener, drain};
use backends::sys::datagrams::{Batch, Onward};
use conf::limits;
use protocols::dns::{Queries, Refused};
use protocols::log::session as words;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The sockets of one listener, by server.
#[derive(Debug, Default)]
pub struct Resolvers {
    servers: RefCell<HashMap<SocketAddr, Server>>,
}

#[derive(Debug, Default)]
struct Server {
    /// In use; filled as random numbers hit them.
    ports: [Option<Port>; limits::DNS_SOCKETS],
    /// Too old for new queries, waiting for the last answers.
    retired: Vec<Port>,
}

/// A socket and the task that waits for answers on it.
#[derive(Debug)]
struct Port {
    shared: Rc<Shared>,
    task: JoinHandle<()>,
    born: u32,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    server: SocketAddr,
    queries: RefCell<Queries<Query>>,
    /// Second in which room was made last.
    relieved: Cell<u32>,
}

/// A query under way.
#[derive(Clone, Copy, Debug)]
struct Query {
    client: Client,
    session: u64,
    since: u32,
    /// The moment it came, for an access log.
    began: Option<Instant>,
    /// Its length.
    length: u16,
}

impl Shared {
    /// Notes a query and gives it an id of ours. In a full table queries that wait in vain make room, not the new one.
    fn register(
        &self,
        context: &Context,
        relay: &Rc<Relay>,
        query: Query,
        message: &mut [u8],
    ) -> Result<(), Lost> {
        let now = query.since;
        let mut result = self.queries.borrow_mut().query(query, message, now);
        if result == Err(Refused::Full) && self.relieved.replace(now) != now {
            let age = u32::try_from(limits::DNS_CROWDED_AGE.as_secs()).unwrap_or(u32::MAX);
            self.expire(context, relay, now.saturating_sub(age));
            result = self.queries.borrow_mut().query(query, message, now);
        }
        result.map_err(|refused| match refused {
            Refused::Full => Lost::Full,
            _ => Lost::Malformed,
        })
    }

    /// Gives up queries from before second `before`.
    fn expire(&self, context: &Context, relay: &Rc<Relay>, before: u32) {
        self.queries.borrow_mut().expire(before, |query| {
            context.counters.timeouts.up();
            let ended = Ended::failed(words::UDP_TIMEOUT);
            log(context, relay, query, Some(self.server), 0, &ended);
        });
    }
}

impl Resolvers {
    /// Passes the queries of a batch on. Those that came together leave together, by one of the ports at random:
    /// whoever forges an answer must guess it all the same.
    pub fn queries(&self, listener: &Rc<Listener>, relay: &Rc<Relay>, batch: &mut Batch) {
        let counters = &listener.context.counters;
        let mut ports = Vec::new();
        batch.each(|message, address, local| {
            let address = address?;
            let by = self.query(
                listener,
                relay,
                message,
                Client { address, local },
                &mut ports,
            );
            match by {
                Ok(by) => Some(Onward { by, to: None }),
                Err(lost) => {
                    counters.lost.up(lost);
                    None
                }
            }
        });
        for (by, port) in ports.iter().enumerate() {
            let sent = batch.send(&port.socket, by);
            counters.datagrams.add(sent.datagrams);
            counters.bytes_in.add(sent.bytes);
            counters.connect_errors.add(sent.dropped);
            counters.lost.add(Lost::Unsent, sent.dropped);
        }
    }

    /// Gives a query an id of ours; answers which of `ports` takes it on.
    ///
    /// # Errors
    /// Why it is dropped.
    fn query(
        &self,
        listener: &Rc<Listener>,
        relay: &Rc<Relay>,
        message: &mut [u8],
        client: Client,
        ports: &mut Vec<Rc<Shared>>,
    ) -> Result<usize, Lost> {
        let context = &listener.context;
        let query = Query {
            client,
            session: context.sessions.number(),
            since: context.clock.seconds(),
            began: relay.config.access.as_ref().map(|_| Instant::now()),
            length: u16::try_from(message.len()).unwrap_or(u16::MAX),
        };
        relay.count_session();
        context.counters.sessions.up();
        let choice = Choice::by(relay, client.address.ip());
        let server = match connect::choose(context, relay, &choice, &[]) {
            Ok(pick) => sockets::translate(relay.config.translate, pick.chosen.address),
            Err(_) => None,
        };
        let Some(server) = server else {
            let ended = Ended::closed(words::FAILED);
            log(context, relay, query, None, 0, &ended);
            return Err(Lost::NoHost);
        };
        let by = match ports.iter().position(|port| port.server == server) {
            Some(by) => by,
            None => {
                let port = self.port(listener, relay, server);
                ports.push(port.map_err(|_| Lost::Unsent)?);
                ports.len() - 1
            }
        };
        let port = ports.get(by).ok_or(Lost::Unsent)?;
        port.register(context, relay, query, message)?;
        Ok(by)
    }

    /// One of the sockets towards a server, at random.
    fn port(
        &self,
        listener: &Rc<Listener>,
        relay: &Relay,
        server: SocketAddr,
    ) -> io::Result<Rc<Shared>> {
        let context = &listener.context;
        let now = context.clock.seconds();
        let mut servers = self.servers.borrow_mut();
        let ports = servers.entry(server).or_default();
        let at = usize::try_from(context.random.next() % limits::DNS_SOCKETS as u64).unwrap_or(0);
        let slot = ports.ports.get_mut(at).ok_or(io::ErrorKind::NotFound)?;
        if let Some(port) = slot {
            return Ok(Rc::clone(&port.shared));
        }
        let mut key = [0; 16];
        for half in key.chunks_exact_mut(8) {
            half.copy_from_slice(&context.random.next().to_ne_bytes());
        }
        let shared = Rc::new(Shared {
            socket: sockets::connect_udp(relay, server, None)?,
            server,
            queries: RefCell::new(Queries::new(key, limits::DNS_QUERIES_MAX)),
            relieved: Cell::new(now),
        });
        let task = actix::spawn(answers(Rc::clone(listener), Rc::clone(&shared)));
        *slot = Some(Port {
            shared: Rc::clone(&shared),
            task,
            born: now,
        });
        Ok(shared)
    }

    /// Forgets queries without an answer, and exchanges old sockets for new ones.
    pub fn tick(&self, listener: &Listener, now: u32) {
        let relay = listener.relay();
        let context = &listener.context;
        let timeout = u32::try_from(relay.config.session_timeout.as_secs()).unwrap_or(u32::MAX);
        let age = u32::try_from(limits::DNS_SOCKET_AGE.as_secs()).unwrap_or(u32::MAX);
        let mut servers = self.servers.borrow_mut();
        for server in servers.values_mut() {
            for slot in &mut server.ports {
                if let Some(old) = slot.take_if(|p| now.saturating_sub(p.born) > age) {
                    server.retired.push(old);
                }
            }
            for port in server.ports.iter().flatten().chain(&server.retired) {
                let before = now.saturating_sub(timeout);
                port.shared.expire(context, &relay, before);
            }
            server
                .retired
                .retain(|p| !p.shared.queries.borrow().is_empty());
        }
        servers.retain(|_, s| !s.retired.is_empty() || s.ports.iter().any(Option::is_some));
    }

    /// Closes all sockets.
    pub fn clear(&self) {
        self.servers.borrow_mut().clear();
    }
}

/// Brings a server's answers to their clients.
async fn answers(listener: Rc<Listener>, port: Rc<Shared>) {
    let context = Rc::clone(&listener.context);
    while port.socket.readable().await.is_ok() {
        let result = drain(&context, &port.socket, |batch| {
            batch.each(|message, _, _| answer(&listener, &port, message));
            listener.reply(batch);
        });
        // The server does not listen; its host check will say so.
        if result.is_err() {
            context.counters.connect_errors.up();
        }
    }
}

/// The way of an answer to its client.
fn answer(listener: &Listener, port: &Shared, message: &mut [u8]) -> Option<Onward> {
    let context = &listener.context;
    let query = port.queries.borrow_mut().answer(message);
    let query = match query {
        Ok(query) => query,
        Err(refused) => {
            context.counters.lost.up(match refused {
                Refused::Malformed => Lost::Malformed,
                Refused::Unknown | Refused::Full => Lost::Unknown,
            });
            return None;
        }
    };
    let relay = listener.relay();
    if relay.log.connection || query.began.is_some() {
        let (ended, length) = (Ended::closed(words::UDP_DONE), message.len());
        log(context, &relay, query, Some(port.server), length, &ended);
    }
    query.client.onward()
}

/// Each query is a session to the log, as in the original.
fn log(
    context: &Context,
    relay: &Rc<Relay>,
    query: Query,
    server: Option<SocketAddr>,
    answer: usize,
    ended: &Ended,
) {
    let client = query.client.address;
    let mut session = Session::new(query.session, Rc::clone(relay), client, query.since);
    session.stamps = query.began.map(Stamps::new);
    session.moved(From::Client, query.since, usize::from(query.length));
    if answer > 0 {
        session.moved(From::Server, query.since, answer);
    }
    if let Some(server) = server {
        session.set_server(server, None);
    }
    session.report(context, ended);
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
    use crate::relay::testing::{context, relay};

    #[actix::test]
    async fn queries_without_an_answer_make_room_for_new_ones() {
        let (context, relay) = (context(), relay(600));
        let server = "127.0.0.1:53".parse().unwrap();
        let port = Shared {
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            server,
            queries: RefCell::new(Queries::new([5; 16], 2)),
            relieved: Cell::new(0),
        };
        let client = Client {
            address: server,
            local: None,
        };
        let ask = |since| {
            let mut message = b"\x00\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01".to_vec();
            let query = Query {
                client,
                session: 1,
                since,
                began: None,
                length: 21,
            };
            port.register(&context, &relay, query, &mut message)
        };
        assert_eq!((ask(10), ask(11)), (Ok(()), Ok(())));
        // Neither has waited for long.
        assert_eq!(ask(12), Err(Lost::Full));
        assert_eq!(context.counters.timeouts.get(), 0);
        // The older one has; it is looked at once a second only.
        assert_eq!(ask(13), Ok(()));
        assert_eq!(context.counters.timeouts.get(), 1);
        assert_eq!(ask(13), Err(Lost::Full));
        assert_eq!(ask(20), Ok(()));
        assert_eq!(context.counters.timeouts.get(), 3);
        let mut short = [0; 5];
        let query = Query {
            client,
            session: 1,
            since: 20,
            began: None,
            length: 5,
        };
        let refused = port.register(&context, &relay, query, &mut short);
        assert_eq!(refused, Err(Lost::Malformed));
    }
}
