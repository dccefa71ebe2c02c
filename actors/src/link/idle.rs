//! The life cycle of a role that has nothing to do.
//! Owns the answers every role owes its parent.
//! Must never do any work.

use super::{Link, Message, Peer, Role, To};
use crate::error::RoleError;

/// The parent, as a receiver.
pub const PARENT: To = To::One(Peer {
    role: Role::Parent,
    instance: 0,
});

/// Agrees to every configuration until the parent says stop or is gone.
///
/// # Errors
/// The parent is gone while an answer is due.
pub async fn idle(mut link: Link) -> Result<(), RoleError> {
    while let Some(incoming) = link.inbox.recv().await {
        match incoming.message {
            Message::Stage { generation, .. } => {
                let answer = Message::Staged {
                    generation,
                    error: None,
                };
                link.sender.tell(PARENT, answer).await?;
            }
            Message::Shutdown => break,
            _ => {}
        }
    }
    Ok(())
}
