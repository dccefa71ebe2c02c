//! Finding a host for a session and connecting to it.
//! Owns the order of choices (rule, first usable table, fixed address), timeout, repetition and failover.
//! Must never have sent a byte of the session: until it returns another host can take over.

use super::context::Context;
use super::queue;
use super::relays::{Host, HostGuard, Relay, RelayTable, Table, Untried};
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
    /// Host that the client's cookie names.
    pub wanted: Option<HostId>,
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
            wanted: None,
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

impl Chosen {
    fn host(relay: &Relay, table: &Table, host: &Rc<Host>) -> Self {
        Self::at(relay, host, host.parts.address.with_port(table.port))
    }

    /// A host that is connected to at this address.
    pub fn at(relay: &Relay, host: &Rc<Host>, address: SocketAddr) -> Self {
        Chosen {
            host: Some(Rc::clone(host)),
            address,
            retry: if host.parts.retry > 0 {
                host.parts.retry
            } else {
                relay.config.retry
            },
        }
    }
}

/// A chosen host, and a place in it.
#[derive(Debug)]
pub struct Pick {
    /// Where to connect to.
    pub chosen: Chosen,
    /// Counts the connection to its host; `None` for a fixed address.
    pub guard: Option<HostGuard>,
}

impl Pick {
    /// A host that was chosen before, in which `place` was taken if it still is; `None` if it is full now.
    pub fn with(chosen: Chosen, place: Option<HostGuard>) -> Option<Self> {
        let guard = match (&chosen.host, place) {
            (Some(host), None) => Some(HostGuard::claim_in_turn(host)?),
            (_, place) => place,
        };
        Some(Pick { chosen, guard })
    }
}

/// No host may get the connection now.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoHost {
    /// None is up.
    #[error("no usable host")]
    Down,
    /// All that are up are full, and there is a queue for this table, by its index in [`Relay::tables`].
    #[error("all hosts are full")]
    Full(usize),
}

/// What has happened before a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing: those who wait go first.
    New,
    /// The session waited for this table and has its turn.
    Waited(usize),
    /// There was no room in a queue: full tables are passed over.
    Refused,
}

/// Chooses a host and takes a place in it; hosts in `tried` are left out.
///
/// # Errors
/// [`NoHost`].
pub fn choose(
    context: &Context,
    relay: &Relay,
    choice: &Choice,
    tried: &[HostId],
) -> Result<Pick, NoHost> {
    choose_at(context, relay, choice, tried, Stage::New)
}

/// The same for one that has waited, or could not.
///
/// # Errors
/// [`NoHost`].
pub fn choose_at(
    context: &Context,
    relay: &Relay,
    choice: &Choice,
    tried: &[HostId],
    stage: Stage,
) -> Result<Pick, NoHost> {
    if let Some(address) = choice.destination {
        return fixed(relay, address, tried);
    }
    for (index, used) in relay.tables.iter().enumerate() {
        let asked = match (stage, choice.table) {
            (Stage::Waited(table), _) | (_, Some(table)) => table == index,
            _ => true,
        };
        if !asked || !used.table.serves() {
            continue;
        }
        let waits = used.table.queue.is_some() && stage != Stage::Refused;
        let first = stage != Stage::New || context.seat.waiting(used.table.id) == 0;
        if (first || !waits)
            && let Some(pick) = from_table(context, relay, used, choice, tried, waits)
        {
            return Ok(pick);
        }
        let others = |h: &Rc<Host>| h.serves() && !tried.contains(&h.parts.id);
        if waits && used.table.hosts.iter().any(others) {
            return Err(NoHost::Full(index));
        }
        if used.table.usable() {
            // Its hosts were tried: they failed, which does not make a fallback of the next table.
            return Err(NoHost::Down);
        }
    }
    match relay.config.target {
        Target::Address { address, port }
        | Target::NatLookup(Some((address, port)))
        | Target::Destination(Some((address, port)))
            if relay.tables.is_empty() =>
        {
            fixed(relay, address.with_port(port), tried)
        }
        _ => Err(NoHost::Down),
    }
}

/// A place in one of the table's hosts: in that which the client's cookie names while it is up, if the client may
/// wait for it or it has room; else by the table's mode.
fn from_table(
    context: &Context,
    relay: &Relay,
    used: &RelayTable,
    choice: &Choice,
    tried: &[HostId],
    waits: bool,
) -> Option<Pick> {
    let claim = |host: &Rc<Host>| {
        let guard = HostGuard::claim(host)?;
        Some(Pick {
            chosen: Chosen::host(relay, &used.table, host),
            guard: Some(guard),
        })
    };
    let mut left_out = tried.to_vec();
    if let Some(host) = choice.wanted.and_then(|wanted| used.table.host(wanted))
        && host.serves()
        && !tried.contains(&host.parts.id)
    {
        let pick = claim(host);
        if pick.is_some() || waits {
            return pick;
        }
        left_out.push(host.parts.id);
    }
    let draw = Draw {
        hash: hash(relay, used.mode, choice),
        random: match used.mode {
            Mode::Random => context.random.next(),
            _ => 0,
        },
    };
    loop {
        let hosts = Untried {
            table: &used.table,
            tried: &left_out,
        };
        let index = balance::choose(used.mode, &mut used.cursor.borrow_mut(), draw, &hosts)?;
        let host = used.table.hosts.get(index)?;
        if let Some(pick) = claim(host) {
            return Some(pick);
        }
        // Another process was faster.
        left_out.push(host.parts.id);
    }
}

fn fixed(relay: &Relay, address: SocketAddr, tried: &[HostId]) -> Result<Pick, NoHost> {
    // A fixed address cannot be exchanged for another: it is tried once.
    if !tried.is_empty() {
        return Err(NoHost::Down);
    }
    Ok(Pick {
        chosen: Chosen {
            host: None,
            address,
            retry: relay.config.retry,
        },
        guard: None,
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
    /// All hosts are full, and as many sessions wait as may.
    #[error("{}", words::QUEUE_FULL)]
    QueueFull,
    /// No host had room in time.
    #[error("{}", words::QUEUE_TIMEOUT)]
    QueueTimeout,
    /// The client did not wait for a host.
    #[error("{}", words::QUEUE_LEFT)]
    Gone,
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
    session: &Rc<Session>,
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
    session: &Rc<Session>,
    client: &Stream,
    mut choice: Choice,
    mut first: Option<Pick>,
) -> Result<Connected, ConnectError> {
    let relay = &session.relay;
    if choice.destination.is_none() {
        choice.destination = target::destination(context, relay, client, session.client).await?;
    }
    let mut tried = Vec::new();
    let mut last = ConnectError::NoHost;
    for attempt in 0..limits::FAILOVER_HOSTS {
        let Pick { chosen, guard } = match first.take() {
            Some(pick) => pick,
            None => match obtain(context, session, client, choice, &tried).await {
                Ok(pick) => pick,
                Err(ConnectError::NoHost) => return Err(last),
                Err(error) => return Err(error),
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

/// A place in a host, waited for if it must be.
async fn obtain(
    context: &Context,
    session: &Rc<Session>,
    client: &Stream,
    choice: Choice,
    tried: &[HostId],
) -> Result<Pick, ConnectError> {
    let relay = &session.relay;
    let mut failed = ConnectError::NoHost;
    // While it waits in vain for one table, another may come up.
    for _ in 0..=relay.tables.len() {
        let stage = match failed {
            ConnectError::QueueFull => Stage::Refused,
            _ => Stage::New,
        };
        match choose_at(context, relay, &choice, tried, stage) {
            Ok(pick) => return Ok(pick),
            Err(NoHost::Down) => break,
            Err(NoHost::Full(index)) => {
                match queue::wait(context, session, client, choice, tried, index).await {
                    Err(error @ (ConnectError::NoHost | ConnectError::QueueFull)) => failed = error,
                    result => return result,
                }
            }
        }
    }
    Err(failed)
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
