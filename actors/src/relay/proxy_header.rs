//! Listeners behind another balancer: each connection begins with a PROXY header that names the client.
//! Owns the wait for that header, before there is a session.
//! Must never take a byte beyond the header, nor wait long, nor for too many at once.

use super::clients::Limit;
use super::context::Context;
use super::relay_actor;
use super::relays::Relay;
use conf::limits;
use protocols::log::limit as words;
use protocols::proxy::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Pause before a header that came in part is looked at again: the bytes stay in the socket, which so is always readable.
const AGAIN: Duration = Duration::from_millis(10);

/// Waits for the header and begins the session; closes the connection if there is none.
pub fn expect(context: Rc<Context>, relay: Rc<Relay>, mut socket: TcpStream, peer: SocketAddr) {
    let waiting = &context.headers_awaited;
    if waiting.get() + context.sessions.len() >= limits::SESSIONS_MAX {
        context.refuse(&relay, peer.ip(), Limit::Process);
        return;
    }
    waiting.set(waiting.get() + 1);
    actix::spawn(async move {
        let client = timeout(limits::PROXY_HEADER_TIMEOUT, header(&mut socket)).await;
        let waiting = &context.headers_awaited;
        waiting.set(waiting.get().saturating_sub(1));
        match client {
            Ok(Some(client)) => {
                // The peer is a balancer: the limits are those of its client.
                let client = client.unwrap_or(peer);
                if let Some(place) = context.admit(&relay, client.ip(), socket.as_raw_fd()) {
                    relay_actor::begin(&context, relay, socket, client, place);
                }
            }
            _ => {
                context.counters.failed.up();
                context.counters.headers_missing.up();
                let line = words::no_header(&relay.config.name, peer.ip());
                if relay.log.connection || relay.log.connection_errors {
                    tracing::warn!("{line}");
                } else {
                    tracing::debug!("{line}");
                }
            }
        }
    });
}

/// The client that the header names; the inner `None` is the peer itself.
async fn header(socket: &mut TcpStream) -> Option<Option<SocketAddr>> {
    let mut buffer = [0; proxy::V2_MAX];
    loop {
        let count = socket.peek(&mut buffer).await.ok()?;
        if count == 0 {
            return None;
        }
        match proxy::read(buffer.get(..count)?).ok()? {
            Read::More => sleep(AGAIN).await,
            Read::Header { length, client } => {
                socket.read_exact(buffer.get_mut(..length)?).await.ok()?;
                return Some(client);
            }
        }
    }
}
