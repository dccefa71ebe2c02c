//! Sessions of `http` protocols.
//! Owns the HTTP driver: what the relay role calls for a session whose protocol is HTTP.
//! Must never log a session's end itself: it answers how it ended.

use super::context::Context;
use super::session::{Ended, Session};
use super::stream::Stream;
use conf::model::{Protocol, Relay};
use std::rc::Rc;

/// A protocol's rules, compiled when the configuration is staged.
#[derive(Debug)]
pub struct Compiled {}

/// What HTTP sessions of one process share, for instance idle server connections.
#[derive(Debug, Default)]
pub struct Shared {}

/// Compiles the protocol of a relay.
///
/// # Errors
/// What in the protocol cannot be served.
pub fn compile(_relay: &Relay, _protocol: &Protocol) -> Result<Compiled, String> {
    Ok(Compiled {})
}

/// Serves a session until it ends.
pub async fn serve(_context: Rc<Context>, _session: Rc<Session>, _client: Stream) -> Ended {
    Ended::failed("session failed")
}
