//! UDP listener of a relay or redirect: datagrams in, and answers back out of the same socket.
//! Owns the receive loop; what is done with a datagram is [`super::flows`]' or [`super::dns`]' business.
//! Must never queue a datagram: what the kernel does not take at once is dropped and counted, as UDP allows.
//!
//! In: `Configure` (reload), `Close`, a tick each second of its own. Out: nothing.
//! On loss: a panic here ends the process; the parent starts another with its duplicate of the socket.

use super::context::Context;
use super::counters::Lost;
use super::dns::Resolvers;
use super::flows::Flows;
use super::relay_actor::{Close, Configure};
use super::relays::Relay;
use super::sockets;
use crate::link::Slot;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, WrapFuture};
use backends::sys::datagrams::{self, Batch, Onward};
use conf::model::ProtocolKind;
use protocols::log::session as words;
use socket2::SockRef;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The actor.
#[derive(Debug)]
pub struct UdpActor {
    listener: Rc<Listener>,
}

/// What the listener's flows and queries share.
#[derive(Debug)]
pub struct Listener {
    /// The process.
    pub context: Rc<Context>,
    slot: Slot,
    relay: RefCell<Rc<Relay>>,
    /// The socket clients talk to.
    pub socket: UdpSocket,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Dns(Resolvers),
    Flows(Flows),
}

impl UdpActor {
    /// A relay on a socket of the parent's.
    ///
    /// # Errors
    /// The descriptor is no UDP socket.
    pub fn new(
        context: Rc<Context>,
        slot: Slot,
        relay: Rc<Relay>,
        socket: std::net::UdpSocket,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        sockets::tune(&SockRef::from(&socket), &relay.protocol.tcp);
        let address = socket.local_addr()?;
        if address.ip().is_unspecified() {
            datagrams::keep_local(&socket, address.is_ipv6())?;
        }
        let engine = match relay.protocol.kind {
            ProtocolKind::Dns => Engine::Dns(Resolvers::default()),
            _ => Engine::Flows(Flows::new(&context.seat)),
        };
        Ok(UdpActor {
            listener: Rc::new(Listener {
                context,
                slot,
                relay: RefCell::new(relay),
                socket: UdpSocket::from_std(socket)?,
                engine,
            }),
        })
    }
}

impl Actor for UdpActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let receive = receive_all(Rc::clone(&self.listener)).into_actor(self);
        ctx.spawn(receive.map(|(), _, ctx| ctx.stop()));
        ctx.run_interval(Duration::from_secs(1), |actor, _| actor.listener.tick());
        let relay = self.listener.relay();
        if relay.redirect.is_none() {
            tracing::debug!("{}", words::running_relay(&relay.config.name));
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // Their tasks hold the listener: it would never be closed.
        match &self.listener.engine {
            Engine::Dns(resolvers) => resolvers.clear(),
            Engine::Flows(flows) => flows.clear(&self.listener.context),
        }
    }
}

impl Handler<Configure> for UdpActor {
    type Result = ();

    fn handle(&mut self, _: Configure, _: &mut Self::Context) {
        if let Some(relay) = self.listener.context.served(&self.listener.slot) {
            let before = self.listener.relay.replace(Rc::clone(&relay));
            let socket = SockRef::from(&self.listener.socket);
            sockets::tune_again(&socket, &before.protocol.tcp, &relay.protocol.tcp);
        }
        self.listener.tick();
    }
}

impl Handler<Close> for UdpActor {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

async fn receive_all(listener: Rc<Listener>) {
    let context = Rc::clone(&listener.context);
    while listener.socket.readable().await.is_ok() {
        let relay = listener.relay();
        // An error is the fate of an earlier answer: a client that does not listen any more.
        let _ = drain(&context, &listener.socket, |batch| {
            listener.received(&relay, batch);
        });
    }
}

/// Calls `act` with the datagrams that wait on a socket, at most a batch of them.
///
/// # Errors
/// The fate of an earlier datagram.
pub(super) fn drain(
    context: &Context,
    socket: &UdpSocket,
    act: impl FnOnce(&mut Batch),
) -> io::Result<()> {
    let mut batch = context.batch.borrow_mut();
    let batch = batch.get_or_insert_default();
    let mut received = false;
    let result = socket.try_io(Interest::READABLE, || {
        let more = batch.receive(socket)?;
        received = true;
        // A batch that is not full has emptied the socket: tokio learns it without another system call.
        match more {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    if received {
        act(batch);
        return Ok(());
    }
    match result {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// Who gets an answer, and from which of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// The client.
    pub address: SocketAddr,
    /// Where it sent its datagram, if the listener stands for several addresses.
    pub local: Option<IpAddr>,
}

impl Client {
    /// The way of an answer to it, by the listener's socket.
    pub(super) fn onward(self) -> Option<Onward> {
        Some(Onward {
            by: 0,
            to: Some((self.address, self.local)),
        })
    }
}

impl Listener {
    /// What is served now.
    pub fn relay(&self) -> Rc<Relay> {
        Rc::clone(&self.relay.borrow())
    }

    fn received(self: &Rc<Self>, relay: &Rc<Relay>, batch: &mut Batch) {
        let lost = &self.context.counters.lost;
        match &self.engine {
            _ if relay.disabled.get() => batch.each(|_, _, _| {
                lost.up(Lost::Disabled);
                None
            }),
            Engine::Dns(resolvers) => resolvers.queries(self, relay, batch),
            Engine::Flows(flows) => batch.each(|datagram, address, local| {
                let address = address?;
                let client = Client { address, local };
                if let Err(why) = flows.datagram(self, relay, datagram, client) {
                    lost.up(why);
                }
                None
            }),
        }
    }

    /// Sends the answers of a batch to their clients ([`Client::onward`]).
    pub(super) fn reply(&self, batch: &Batch) {
        let counters = &self.context.counters;
        let sent = batch.send(&self.socket, 0);
        counters.datagrams.add(sent.datagrams);
        counters.bytes_out.add(sent.bytes);
        counters.lost.add(Lost::Unsent, sent.dropped);
    }

    fn tick(&self) {
        let now = self.context.clock.seconds();
        match &self.engine {
            Engine::Dns(resolvers) => resolvers.tick(self, now),
            Engine::Flows(flows) => flows.tick(&self.context, now),
        }
    }
}
