//! Links: how roles talk, whether in one process or in several.
//! Owns the message type, the table of who may talk to whom, and the ends that a role holds.
//! Must never interpret a message beyond its kind and its address.
//!
//! Every child has one link, to the parent; the parent passes messages on between children
//! after looking them up in [`role::permitted`]. So the parent sees (and remembers) what a
//! restarted process must be told, and no child can pretend to be another.

mod idle;
pub mod message;
pub mod role;
pub mod transport;

pub use idle::{PARENT, idle};
pub use message::{Admin, Message, RunState, Sample, SessionInfo, Slot};
pub use role::{Peer, Role, To};

use conf::limits;
use std::os::fd::OwnedFd;
use thiserror::Error;
use tokio::sync::mpsc;

/// A message that arrived, with its true sender.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Incoming {
    /// Who sent it.
    pub from: Peer,
    /// What.
    pub message: Message,
    /// Descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// A message on its way.
#[derive(Debug)]
pub struct Outgoing {
    /// Who gets it.
    pub to: To,
    /// What.
    pub message: Message,
    /// Descriptors that go with it (to a single receiver only).
    pub descriptors: Vec<OwnedFd>,
}

/// The other end is gone, or does not read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LinkError {
    /// The other process ended.
    #[error("link closed")]
    Closed,
    /// The queue of [`limits::LINK_QUEUE`] messages is full.
    #[error("link queue full")]
    Full,
}

/// The sending half of a role's link; cheap to clone into actors.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: mpsc::Sender<Outgoing>,
}

impl Sender {
    /// Queues a message without waiting.
    ///
    /// # Errors
    /// [`LinkError`]; the message is lost.
    pub fn try_send(&self, to: To, message: Message) -> Result<(), LinkError> {
        self.queue
            .try_send(Outgoing {
                to,
                message,
                descriptors: Vec::new(),
            })
            .map_err(|e| match e {
                mpsc::error::TrySendError::Full(_) => LinkError::Full,
                mpsc::error::TrySendError::Closed(_) => LinkError::Closed,
            })
    }

    /// Queues a message, waiting for room.
    ///
    /// # Errors
    /// [`LinkError::Closed`].
    pub async fn send(&self, outgoing: Outgoing) -> Result<(), LinkError> {
        self.queue
            .send(outgoing)
            .await
            .map_err(|_| LinkError::Closed)
    }

    /// Queues a message to one role, waiting for room.
    ///
    /// # Errors
    /// [`LinkError::Closed`].
    pub async fn tell(&self, to: To, message: Message) -> Result<(), LinkError> {
        self.send(Outgoing {
            to,
            message,
            descriptors: Vec::new(),
        })
        .await
    }
}

/// A role's end of its link.
#[derive(Debug)]
pub struct Link {
    /// Who this end is.
    pub me: Peer,
    /// Sending half.
    pub sender: Sender,
    /// What arrives; `None` from it means that the parent is gone.
    pub inbox: mpsc::Receiver<Incoming>,
}

/// The other end of a [`Link`]: what a transport (or a test) reads and writes.
#[derive(Debug)]
pub struct Remote {
    /// What the role sends.
    pub outbox: mpsc::Receiver<Outgoing>,
    /// Towards the role.
    pub inbox: mpsc::Sender<Incoming>,
}

/// Both ends of an in-process link.
pub fn pair(me: Peer) -> (Link, Remote) {
    let (queue, outbox) = mpsc::channel(limits::LINK_QUEUE);
    let (to_role, inbox) = mpsc::channel(limits::LINK_QUEUE);
    (
        Link {
            me,
            sender: Sender { queue },
            inbox,
        },
        Remote {
            outbox,
            inbox: to_role,
        },
    )
}
