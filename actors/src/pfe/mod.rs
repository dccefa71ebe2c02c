//! Packet filter engine and control socket: the role of `pf update engine`.
//! Owns the actors Pfe, Redirect, Backend and Control, and the life cycle of the role.
//! Must never listen on the network: nothing from there reaches this process.
//!
//! ```text
//! hce ─ HostStatus ─► Pfe ─ Decide ─► Redirect (one per redirection)
//!                      ▲ ◄─ Decided ───┘
//! relayctl ─ Control ──┘ ─ Apply ──► Backend ─► packet filter, or Forwarding to the relay processes
//! ```

mod actor;
mod admin;
mod backend;
mod client;
mod control;
mod counts;
mod effects;
mod listing;
mod pending;
mod redirect;
mod requests;
mod results;
mod rounds;
mod samples;
mod state;

use crate::error::RoleError;
use crate::link::{Link, Message};
use crate::options::Options;
use actor::{End, Pfe};
use std::sync::Arc;

/// Runs the role until the parent says stop or is gone. Redirections stop with the former, so that another balancer
/// may take over, and go on with the latter, so that the next daemon finds them.
///
/// # Errors
/// The role cannot go on; its process ends and is started again.
pub async fn run(mut link: Link, options: Arc<Options>) -> Result<(), RoleError> {
    let pfe = Pfe::start_all(link.sender.clone(), options);
    let mut release = false;
    while let Some(incoming) = link.inbox.recv().await {
        if matches!(incoming.message, Message::Shutdown) {
            release = true;
            break;
        }
        let sent = pfe.send(incoming).await;
        sent.map_err(|e| RoleError::Other(format!("pf update engine: {e}")))?;
    }
    // It may have ended already.
    let _ = pfe.send(End { release }).await;
    Ok(())
}
