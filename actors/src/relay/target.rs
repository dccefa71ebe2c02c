//! Where a client wanted to go before it was sent to the relay: `forward to destination` and `nat lookup`.
//! Owns the look-up, in the socket where the system keeps the answer there, else by the packet filter engine.
//! Must never lead a connection back to the relay itself.

use super::connect::ConnectError;
use super::context::Context;
use super::relays::Relay;
use super::sockets;
use super::stream::Stream;
use crate::link::{Message, Role, To};
use conf::limits;
use conf::model::Target;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Questions to the packet filter engine.
#[derive(Debug, Default)]
pub struct Lookups {
    last: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Option<SocketAddr>>>>,
}

impl Lookups {
    async fn ask(
        &self,
        context: &Context,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Option<SocketAddr> {
        let request = self.last.get() + 1;
        self.last.set(request);
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(request, sender);
        let message = Message::NatLookup {
            request,
            client,
            local,
        };
        let sent = context.link.try_send(To::All(Role::Pfe), message);
        let answer = match sent {
            Ok(()) => timeout(limits::NAT_LOOKUP_TIMEOUT, answer).await,
            Err(_) => Ok(Ok(None)),
        };
        self.waiting.borrow_mut().remove(&request);
        answer.ok()?.ok()?
    }

    /// An answer came.
    pub(super) fn answered(&self, request: u64, destination: Option<SocketAddr>) {
        if let Some(sender) = self.waiting.borrow_mut().remove(&request) {
            // The session may have ended meanwhile.
            let _ = sender.send(destination);
        }
    }
}

/// The destination that wins over tables; `None` if the relay's tables or fixed address decide.
///
/// # Errors
/// [`ConnectError::NatLookup`] or [`ConnectError::Loop`] if there is neither.
pub async fn destination(
    context: &Context,
    relay: &Relay,
    client: &Stream,
    peer: SocketAddr,
) -> Result<Option<SocketAddr>, ConnectError> {
    let (nat, alternate) = match relay.config.target {
        Target::Destination(alternate) => (false, alternate),
        Target::NatLookup(alternate) => (true, alternate),
        Target::Tables | Target::Address { .. } => return Ok(None),
    };
    let local = client.local_addr().map_err(ConnectError::Socket)?;
    let mut found = match nat {
        true => None,
        false => Some(local).filter(|a| !own(relay, *a)),
    };
    if found.is_none() {
        found = sockets::original_destination(client.socket());
    }
    if found.is_none() && nat {
        found = context.lookups.ask(context, peer, local).await;
    }
    match found.filter(|a| !own(relay, *a)) {
        Some(found) => Ok(Some(found)),
        None if alternate.is_some() || !relay.tables.is_empty() => Ok(None),
        None if nat => Err(ConnectError::NatLookup),
        None => Err(ConnectError::Loop),
    }
}

/// The same for a datagram: where the client sent it, which a listener on all addresses is told. The port is the
/// listener's own, as the packet filter diverts it.
///
/// # Errors
/// [`ConnectError::Loop`] if there is no destination but the relay itself, and no alternative.
pub fn of_datagram(
    relay: &Relay,
    local: Option<IpAddr>,
) -> Result<Option<SocketAddr>, ConnectError> {
    let Target::Destination(alternate) = relay.config.target else {
        return Ok(None);
    };
    let listen = &relay.config.listen;
    let meant = SocketAddr::new(local.unwrap_or(listen.address.ip), listen.port);
    match Some(meant).filter(|a| !own(relay, *a)) {
        Some(found) => Ok(Some(found)),
        None if alternate.is_some() || !relay.tables.is_empty() => Ok(None),
        None => Err(ConnectError::Loop),
    }
}

/// Whether `address` is the relay's own listener.
pub fn own(relay: &Relay, address: SocketAddr) -> bool {
    let listen = &relay.config.listen;
    if listen.port != address.port() {
        return false;
    }
    let any = listen.address.ip;
    address.ip() == any
        || any.is_unspecified()
            && any.is_ipv4() == address.is_ipv4()
            && sockets::is_local(address.ip())
}
