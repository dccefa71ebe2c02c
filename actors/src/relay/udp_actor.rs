//! UDP listener of a relay or redirect: datagrams in, and answers back out of the same socket.
//! Owns the receive loop; what is done with a datagram is [`super::flows`]' or [`super::dns`]' business.
//! Must never queue a datagram: what the kernel does not take at once is dropped and counted, as UDP allows.
//!
//! In: `Configure` (reload), `Close`, a tick each second of its own. Out: nothing.
//! On loss: a panic here ends the process; the parent starts another with its duplicate of the socket.

use super::context::Context;
use super::dns::Resolvers;
use super::flows::Flows;
use super::relay_actor::{Close, Configure};
use super::relays::Relay;
use super::sockets;
use crate::link::Slot;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, WrapFuture};
use conf::limits;
use conf::model::ProtocolKind;
use protocols::log::session as words;
use socket2::SockRef;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
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
        let engine = match relay.protocol.kind {
            ProtocolKind::Dns => Engine::Dns(Resolvers::default()),
            _ => Engine::Flows(Flows::default()),
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
            Engine::Flows(flows) => flows.clear(),
        }
    }
}

impl Handler<Configure> for UdpActor {
    type Result = ();

    fn handle(&mut self, _: Configure, _: &mut Self::Context) {
        if let Some(relay) = self.listener.context.served(&self.listener.slot) {
            self.listener.relay.replace(relay);
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
    loop {
        if listener.socket.readable().await.is_err() {
            return;
        }
        let context = Rc::clone(&listener.context);
        for _ in 0..limits::UDP_BATCH {
            let mut scratch = context.scratch.borrow_mut();
            match listener.socket.try_recv_from(&mut scratch) {
                Ok((count, client)) => {
                    let datagram = scratch.get_mut(..count).unwrap_or_default();
                    listener.datagram(datagram, client);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The kernel reports a client that does not listen any more.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

impl Listener {
    /// What is served now.
    pub fn relay(&self) -> Rc<Relay> {
        Rc::clone(&self.relay.borrow())
    }

    fn datagram(self: &Rc<Self>, datagram: &mut [u8], client: SocketAddr) {
        let relay = self.relay();
        let served = !relay.disabled.get()
            && match &self.engine {
                Engine::Dns(resolvers) => resolvers.query(self, &relay, datagram, client),
                Engine::Flows(flows) => flows.datagram(self, &relay, datagram, client),
            };
        if !served {
            self.context.counters.datagrams_dropped.up();
        }
    }

    /// Sends an answer to a client.
    pub fn reply(&self, datagram: &[u8], client: SocketAddr) {
        let counters = &self.context.counters;
        match self.socket.try_send_to(datagram, client) {
            Ok(count) => {
                counters.datagrams.up();
                counters.bytes_out.add(count as u64);
            }
            Err(_) => counters.datagrams_dropped.up(),
        }
    }

    fn tick(&self) {
        let now = self.context.clock.seconds();
        match &self.engine {
            Engine::Dns(resolvers) => resolvers.tick(self, now),
            Engine::Flows(flows) => flows.tick(now),
        }
    }
}
