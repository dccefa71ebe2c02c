//! Relay: one listener and what is served on it.
//! Owns the accept loop.
//! Must never wait for a session.
//!
//! In: [`Configure`] (reload), [`Close`]. Out: sessions, begun as actors of their own.
//! On loss: a panic here ends the process; the parent starts another with its duplicate of the listener.

use super::clients::Place;
use super::context::Context;
use super::proxy_header;
use super::relays::Relay;
use super::session::Session;
use super::session_actor::SessionActor;
use super::sockets;
use super::stream::Stream;
use crate::link::Slot;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, Message, WrapFuture};
use conf::limits;
use protocols::log::session as words;
use socket2::SockRef;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Serve new connections by what the context has for this listener now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Configure;

/// Stop accepting and close the listener.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Close;

/// The actor.
#[derive(Debug)]
pub struct RelayActor {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    context: Rc<Context>,
    slot: Slot,
    relay: RefCell<Rc<Relay>>,
    listener: TcpListener,
}

impl RelayActor {
    /// A relay on a listener of the parent's.
    ///
    /// # Errors
    /// The descriptor is no listening TCP socket.
    pub fn new(
        context: Rc<Context>,
        slot: Slot,
        relay: Rc<Relay>,
        listener: std::net::TcpListener,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // Accepted sockets inherit the listener's options.
        let tcp = &relay.protocol.tcp;
        sockets::tune(&SockRef::from(&listener), tcp);
        sockets::lengthen_queue(&SockRef::from(&listener), tcp.backlog);
        Ok(RelayActor {
            shared: Rc::new(Shared {
                context,
                slot,
                relay: RefCell::new(relay),
                listener: TcpListener::from_std(listener)?,
            }),
        })
    }
}

impl Actor for RelayActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let accept = accept_all(Rc::clone(&self.shared)).into_actor(self);
        ctx.spawn(accept.map(|(), _, ctx| ctx.stop()));
        let relay = self.shared.relay.borrow();
        if relay.redirect.is_none() {
            tracing::debug!("{}", words::running_relay(&relay.config.name));
        }
    }
}

impl Handler<Configure> for RelayActor {
    type Result = ();

    fn handle(&mut self, _: Configure, _: &mut Self::Context) {
        if let Some(relay) = self.shared.context.served(&self.shared.slot) {
            let before = self.shared.relay.replace(Rc::clone(&relay));
            let listener = SockRef::from(&self.shared.listener);
            sockets::tune_again(&listener, &before.protocol.tcp, &relay.protocol.tcp);
        }
    }
}

impl Handler<Close> for RelayActor {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        // Whoever waits in the queue was promised a connection.
        for _ in 0..limits::BACKLOG_MAX {
            // The kernel's word, not what the event loop knew a moment ago.
            let Ok((socket, client)) = SockRef::from(&self.shared.listener).accept() else {
                break;
            };
            let nonblocking = socket.set_nonblocking(true);
            let stream = nonblocking.and_then(|()| TcpStream::from_std(socket.into()));
            if let (Ok(stream), Some(client)) = (stream, client.as_socket()) {
                self.shared.accepted(stream, client);
            }
        }
        ctx.stop();
    }
}

/// Accepts in batches, so that one listener's flood leaves other sessions their turn.
async fn accept_all(shared: Rc<Shared>) {
    let mut batch = 0;
    loop {
        match shared.listener.accept().await {
            Ok((socket, client)) => shared.accepted(socket, client),
            Err(error) if exhausted(&error) => {
                if shared.context.counters.accept_pauses.get() == 0 {
                    let name = &shared.relay.borrow().config.name;
                    tracing::warn!("relay {name}: accepting pauses: {error}");
                }
                shared.context.counters.accept_pauses.up();
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
            // The client went away before it was accepted.
            Err(_) => {}
        }
        batch += 1;
        if batch == limits::ACCEPT_BATCH {
            batch = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Whether accepting again at once would fail again.
fn exhausted(error: &io::Error) -> bool {
    use nix::errno::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

impl Shared {
    fn accepted(&self, socket: TcpStream, client: SocketAddr) {
        let context = &self.context;
        let relay = Rc::clone(&self.relay.borrow());
        if relay.disabled.get() {
            if relay.redirect.is_some() {
                // As if nobody listened.
                let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            }
            return;
        }
        if relay.config.listen.proxy {
            proxy_header::expect(Rc::clone(context), relay, socket, client);
            return;
        }
        if let Some(place) = context.admit(&relay, client.ip(), socket.as_raw_fd()) {
            begin(context, relay, socket, client, place);
        }
    }
}

/// Begins a session.
pub(super) fn begin(
    context: &Rc<Context>,
    relay: Rc<Relay>,
    socket: TcpStream,
    client: SocketAddr,
    place: Place,
) {
    context.counters.sessions.up();
    relay.count_session();
    let now = context.clock.seconds();
    let session = Session::new(context.sessions.number(), relay, client, now);
    let (session, client) = (Rc::new(session), Stream::Plain(socket));
    SessionActor::begin(Rc::clone(context), session, client, place);
}
