//! The control socket: what relayctl and the daemon say to each other, and the rows relayctl prints.
//! Owns the imsg framing, the message numbers, the object layouts, the JSON extension and the text of every row.
//! Must never open a socket or read a clock: bytes in, messages out, and back.
//!
//! [`imsg`] frames · [`layout`] where each field stands · [`record`] the objects · [`request`] client to daemon ·
//! [`reply`] daemon to client · [`extension`] JSON messages from 0x10000 · [`rows`] the output.

mod bytes;
pub mod extension;
pub mod flags;
pub mod imsg;
pub mod kind;
pub mod layout;
pub mod record;
pub mod reply;
pub mod request;
pub mod rows;
mod sockaddr;
pub mod statistics;

pub use imsg::{Decoder, Frame, FrameError};
pub use reply::Reply;
pub use request::{ObjectId, Request};

use thiserror::Error;

/// A message that is not what its number says. It costs its sender the connection.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ControlError {
    /// The payload has the wrong size.
    #[error("message type {kind} with {length} bytes of payload instead of {expected}")]
    Size {
        /// Message number.
        kind: u32,
        /// Bytes that came.
        length: usize,
        /// Bytes that the message needs.
        expected: usize,
    },
    /// A field has a value that means nothing.
    #[error("message type {kind} with an invalid {field}: {value}")]
    Value {
        /// Message number.
        kind: u32,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// The JSON of an extension message is not understood.
    #[error("message type {kind}: {reason}")]
    Extension {
        /// Message number.
        kind: u32,
        /// What the JSON reader says.
        reason: String,
    },
    /// A message number this program does not know.
    #[error("unknown message type {0}")]
    Unknown(u32),
}

#[cfg(test)]
mod tests;
