//! Answers of the relay itself: the error page, or none.
//! Owns what a refused client gets and how its session's log line says so.
//! Must never leave a client without the page because more of its request was on the way.

use super::super::connect::ConnectError;
use super::super::context::Context;
use super::super::session::{Ended, Session};
use super::super::stream::Stream;
use protocols::http::{Page, Refusal, reason_phrase};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the rest of a refused request is read, so that the page is not lost by a reset.
const LINGER: Duration = Duration::from_secs(2);
/// And how much of it.
const LINGER_BYTES: u64 = 1 << 20;

/// How a request is refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// Text of the log line, if it is not the refusal's.
    pub(super) reason: Option<String>,
    /// Nothing was answered yet, so the client may get a page.
    pub(super) page: bool,
    /// The request was HEAD.
    pub(super) head_only: bool,
}

/// Refuses a request: with the page if the protocol says `return error`.
pub(super) async fn refuse(
    context: &Context,
    session: &Session,
    client: &mut Stream,
    refused: Refused,
) -> Ended {
    let refusal = refused.refusal;
    context.http.count_refused(refusal);
    let protocol = &session.relay.protocol;
    let reason = refused.reason.unwrap_or_else(|| refusal.message.to_owned());
    if !protocol.return_error || !refused.page {
        return Ended::closed(reason);
    }
    let listen = &session.relay.config.listen;
    let answer = Page {
        status: refusal.status,
        message: refusal.message,
        label: session.label.borrow().as_deref().unwrap_or_default(),
        style: protocol.style.as_deref(),
        address: listen.address.ip,
        port: listen.port,
        now: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        head_only: refused.head_only,
    }
    .render();
    // A client that does not want its answer gets none.
    let written = tokio::time::timeout(LINGER, client.write_all(&answer)).await;
    if let Ok(Ok(())) = written {
        linger(client).await;
    }
    Ended::failed(format!(
        "{reason} ({:03} {})",
        refusal.status,
        reason_phrase(refusal.status)
    ))
}

/// What a failed connection to a server means to the client.
pub(super) fn connect_refusal(error: &ConnectError) -> Refusal {
    match error {
        ConnectError::NoHost | ConnectError::Gone => Refusal::SESSION_FAILED,
        ConnectError::QueueFull => Refusal::QUEUE_FULL,
        ConnectError::QueueTimeout => Refusal::QUEUE_TIMEOUT,
        ConnectError::Timeout => Refusal::CONNECT_TIMEOUT,
        ConnectError::Socket(_) => Refusal::SOCKET,
        ConnectError::Proxy => Refusal::PROXY_HEADER,
        ConnectError::Loop | ConnectError::NatLookup => Refusal::SESSION_FAILED,
    }
}

/// Ends our side and reads what the client still sends, within bounds.
pub(super) async fn linger(client: &mut Stream) {
    let _ = tokio::time::timeout(LINGER, async {
        client.shutdown().await?;
        let mut rest = client.take(LINGER_BYTES);
        let mut buffer = [0; 512];
        while rest.read(&mut buffer).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}
