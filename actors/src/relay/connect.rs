//! Finding a host for a session and connecting to it.
//! Owns the order of choices (rule, first usable table, fixed address), timeout, repetition and failover.
//! Must never have sent a byte of the session: until it returns another host can take over.

use super::context::Context;
use super::relays::{Host, HostGuard, Relay, Untried};
use super::session::{Ended, Session};
use super::sockets;
use super::stream::Stream;
use super::target;
use conf::limits;
use conf::model::{HostId, Mode, ProxyVersion, Target};
use protocols::balance::{self, Draw, Hash};
use protocols::log::session as words;
use protocols::proxy;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncWriteExt;

/// What a host is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Client's address.
    pub client: IpAddr,
    /// Table chosen by a rule: index in [`Relay::tables`].
    pub table: Option<usize>,
    /// What `hash` actions fed in; begins as [`Choice::new`] makes it.
    pub hash: Hash,
    /// Destination by `forward to destination` or `nat lookup`; wins over tables.
    pub destination: Option<SocketAddr>,
}

impl Choice {
    /// The choice of a session before any rule.
    pub fn new(session: &Session) -> Self {
        Self::by(&session.relay, session.client.ip())
    }

    /// The same for a client that has no session.
    pub fn by(relay: &Relay, client: IpAddr) -> Self {
        Choice {
            client,
            table: None,
            hash: Hash::new(&relay.key),
            destination: None,
        }
    }
}

/// Where a connection shall go.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The host of a table; `None` for a fixed address or destination.
    pub host: Option<Rc<Host>>,
    /// Address to connect to.
    pub address: SocketAddr,
    /// Immediate failures that are repeated.
    pub retry: u32,
}

/// No host may get the connection.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no usable host")]
pub struct NoHost;

/// Chooses a host; hosts in `tried` are left out.
///
/// # Errors
/// [`NoHost`].
pub fn choose(
    context: &Context,
    relay: &Relay,
    choice: &Choice,
    tried: &[HostId],
) -> Result<Chosen, NoHost> {
    if let Some(address) = choice.destination {
        return fixed(relay, address, tried);
    }
    let chosen = match choice.table {
        Some(index) => relay.tables.get(index),
        None => relay.tables.iter().find(|t| t.table.usable()),
    };
    let Some(used) = chosen else {
        return match relay.config.target {
            Target::Address { address, port }
            | Target::NatLookup(Some((address, port)))
            | Target::Destination(Some((address, port)))
                if relay.tables.is_empty() =>
            {
                fixed(relay, address.with_port(port), tried)
            }
            _ => Err(NoHost),
        };
    };
    if !used.table.usable() {
        return Err(NoHost);
    }
    let draw = Draw {
        hash: hash(relay, used.mode, choice),
        random: match used.mode {
            Mode::Random => context.random.next(),
            _ => 0,
        },
    };
    let hosts = Untried {
        table: &used.table,
        tried,
    };
    let mut cursor = used.cursor.borrow_mut();
    let index = balance::choose(used.mode, &mut cursor, draw, &hosts).ok_or(NoHost)?;
    let host = used.table.hosts.get(index).ok_or(NoHost)?;
    Ok(Chosen {
        host: Some(Rc::clone(host)),
        address: host.parts.address.with_port(used.table.port),
        retry: if host.parts.retry > 0 {
            host.parts.retry
        } else {
            relay.config.retry
        },
    })
}

fn fixed(relay: &Relay, address: SocketAddr, tried: &[HostId]) -> Result<Chosen, NoHost> {
    // A fixed address cannot be exchanged for another: it is tried once.
    if !tried.is_empty() {
        return Err(NoHost);
    }
    Ok(Chosen {
        host: None,
        address,
        retry: relay.config.retry,
    })
}

/// The number of the hashing modes, fed in the original's order.
fn hash(relay: &Relay, mode: Mode, choice: &Choice) -> u64 {
    let mut hash = choice.hash;
    if matches!(mode, Mode::SourceHash | Mode::LoadBalance) {
        hash.address(choice.client);
    }
    if matches!(mode, Mode::LoadBalance | Mode::Hash) {
        hash.address(relay.config.listen.address.ip);
        hash.port(relay.config.listen.port);
    }
    hash.finish()
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connected {
    /// The connection; nothing was sent on it yet but a PROXY header.
    pub stream: Stream,
    /// Counts the connection to its host; keep it as long as the stream.
    pub guard: Option<HostGuard>,
    /// Where it goes.
    pub address: SocketAddr,
}

/// Why there is no connection to a server.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No usable host.
    #[error("{}", words::FAILED)]
    NoHost,
    /// The target is the relay itself.
    #[error("{}", words::ABORTED)]
    Loop,
    /// `nat lookup` found nothing and there is no alternative.
    #[error("{}", words::NAT_FAILED)]
    NatLookup,
    /// The server did not answer in time.
    #[error("{}", words::CONNECT_TIMEOUT)]
    Timeout,
    /// The system refused.
    #[error("socket error: {}", sockets::error_text(.0))]
    Socket(io::Error),
    /// The PROXY header could not be sent.
    #[error("{}", words::PROXY_FAILED)]
    Proxy,
}

impl ConnectError {
    /// The end of a session that needs this connection.
    pub fn ended(&self) -> Ended {
        match self {
            ConnectError::Loop | ConnectError::NatLookup => Ended::failed(self.to_string()),
            _ => Ended::closed(self.to_string()),
        }
    }
}

/// Connects to a host chosen by `choice`. If a host of a table cannot be reached, others are tried
/// ([`limits::FAILOVER_HOSTS`] in all); notes the server in the session.
///
/// # Errors
/// The last host's error.
pub async fn connect(
    context: &Context,
    session: &Session,
    client: &Stream,
    choice: Choice,
) -> Result<Connected, ConnectError> {
    connect_first(context, session, client, choice, None).await
}

/// The same, where a host was chosen already and is tried first.
///
/// # Errors
/// The last host's error.
pub async fn connect_first(
    context: &Context,
    session: &Session,
    client: &Stream,
    mut choice: Choice,
    mut first: Option<Chosen>,
) -> Result<Connected, ConnectError> {
    let relay = &session.relay;
    if choice.destination.is_none() {
        choice.destination = target::destination(context, relay, client, session.client).await?;
    }
    let mut tried = Vec::new();
    let mut last = ConnectError::NoHost;
    for attempt in 0..limits::FAILOVER_HOSTS {
        let chosen = match first.take() {
            Some(chosen) => chosen,
            None => match choose(context, relay, &choice, &tried) {
                Ok(chosen) => chosen,
                Err(_) => return Err(last),
            },
        };
        if attempt > 0 {
            context.counters.failovers.up();
        }
        let address = sockets::translate(relay.config.translate, chosen.address)
            .ok_or(ConnectError::NoHost)?;
        session.set_server(address, chosen.host.clone());
        if target::own(relay, address) {
            return Err(ConnectError::Loop);
        }
        let guard = chosen.host.as_ref().map(|h| HostGuard::new(Rc::clone(h)));
        let session_timeout = relay.config.session_timeout;
        let others = attempt + 1 < limits::FAILOVER_HOSTS && has_other(relay, &chosen, &tried);
        let limit = if others {
            session_timeout.min(limits::CONNECT_TIMEOUT)
        } else {
            session_timeout
        };
        match attempt_one(relay, session, client, address, chosen.retry, limit).await {
            Ok(stream) => {
                if let (Some(redirect), Some(host)) = (relay.redirect, &chosen.host) {
                    context.forwards.count(redirect.id, host.parts.id);
                }
                return Ok(Connected {
                    stream,
                    guard,
                    address,
                });
            }
            Err(error) => last = error,
        }
        context.counters.connect_errors.up();
        match chosen.host {
            Some(host) => tried.push(host.parts.id),
            None => return Err(last),
        }
    }
    Err(last)
}

/// Whether another host could take over from `chosen`.
fn has_other(relay: &Relay, chosen: &Chosen, tried: &[HostId]) -> bool {
    let Some(host) = &chosen.host else {
        return false;
    };
    relay.tables.iter().any(|t| {
        t.table.hosts.iter().any(|h| h.parts.id == host.parts.id)
            && t.table
                .hosts
                .iter()
                .any(|h| h.parts.id != host.parts.id && h.usable() && !tried.contains(&h.parts.id))
    })
}

/// Connects to one address; repeats failures that come before `limit`.
async fn attempt_one(
    relay: &Relay,
    session: &Session,
    client: &Stream,
    address: SocketAddr,
    retry: u32,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let work = async {
        let mut left = retry;
        loop {
            match sockets::connect(relay, session, address).await {
                Ok(socket) => return Ok(socket),
                Err(_) if left > 0 => {
                    left -= 1;
                    tokio::task::yield_now().await;
                }
                Err(error) => return Err(ConnectError::Socket(error)),
            }
        }
    };
    let connected = async {
        let mut stream = Stream::Plain(work.await?);
        if let Some(version) = relay.config.proxy_protocol {
            let header = proxy_header(version, relay, session, client)?;
            stream
                .write_all(&header)
                .await
                .map_err(|_| ConnectError::Proxy)?;
        }
        Ok(stream)
    };
    tokio::time::timeout(limit, connected)
        .await
        .map_err(|_| ConnectError::Timeout)?
}

/// Source: the client; destination: where it connected to, with the port of the relay.
fn proxy_header(
    version: ProxyVersion,
    relay: &Relay,
    session: &Session,
    client: &Stream,
) -> Result<Vec<u8>, ConnectError> {
    let mut local = client.local_addr().map_err(|_| ConnectError::Proxy)?;
    local.set_port(relay.config.listen.port);
    Ok(proxy::header(version, session.client, local))
}
