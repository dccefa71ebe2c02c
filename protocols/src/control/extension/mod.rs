//! Our own messages on the control socket: numbers from 0x10000, JSON with a version inside.
//! Owns requests and answers that the original does not have, and the objects of `relayctl -j`.
//! Must never change the meaning of a field: add fields, or count [`VERSION`] up.

mod object;

pub use object::{Event, Object, Share, Statistics, Traffic};

use super::ControlError;
use super::request::ObjectId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// First number of an extension message.
pub const FIRST: u32 = 0x1_0000;
/// Version of the JSON in this file.
pub const VERSION: u32 = 1;
/// Longest text in one [`Answer::Message`]; longer ones are cut.
pub const MESSAGE_TEXT_MAX: usize = 8192;

const SHOW: u32 = 0x1_0000;
const RELOAD: u32 = 0x1_0001;
const SUBSCRIBE: u32 = 0x1_0002;
const SESSION_KILL: u32 = 0x1_0003;
const DRAIN: u32 = 0x1_0004;
const RELAY_SWITCH: u32 = 0x1_0005;
const PURGE: u32 = 0x1_0006;
const OBJECT: u32 = 0x1_8000;
const MESSAGE: u32 = 0x1_8001;
const VERDICT: u32 = 0x1_8002;
const EVENT: u32 = 0x1_8003;

/// What a `show` command lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Everything but sessions.
    Summary,
    /// Tables and hosts.
    Hosts,
    /// Redirections.
    Redirects,
    /// Relays.
    Relays,
    /// Routers.
    Routers,
    /// Sessions.
    Sessions,
}

/// An object named by id or name, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Named {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

impl From<ObjectId> for Named {
    fn from(id: ObjectId) -> Named {
        match id {
            ObjectId::Id(id) => Named::Id(id),
            ObjectId::Name(name) => Named::Name(name),
        }
    }
}

impl From<Named> for ObjectId {
    fn from(id: Named) -> ObjectId {
        match id {
            Named::Id(id) => ObjectId::Id(id),
            Named::Name(name) => ObjectId::Name(name),
        }
    }
}

/// An extension request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// List objects: [`Answer::Object`]s, then `END`.
    Show(Topic),
    /// Reload and say how it went: [`Answer::Message`]s, then [`Answer::Verdict`].
    Reload(Option<PathBuf>),
    /// Send [`Answer::Event`]s from now on.
    Subscribe,
    /// End a session: `OK` or `FAIL`.
    KillSession {
        /// Relay process.
        pid: u32,
        /// Session in it.
        session: u32,
    },
    /// Drain a host, or end that: `OK` or `FAIL`.
    Drain {
        /// Which.
        host: ObjectId,
        /// On.
        drain: bool,
    },
    /// Enable or disable a relay: `OK` or `FAIL`.
    SwitchRelay {
        /// Which.
        relay: ObjectId,
        /// On.
        enable: bool,
    },
    /// Remove everything from the packet filter, with all flows, and install it anew: `OK` or `FAIL`.
    Purge,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    body: T,
}

#[derive(Serialize, Deserialize)]
struct KillBody {
    pid: u32,
    session: u32,
}

#[derive(Serialize, Deserialize)]
struct SwitchBody {
    object: Named,
    on: bool,
}

/// serde_json refuses only what these types cannot contain (non-string keys), so nothing is lost here.
fn pack<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(&Envelope {
        version: VERSION,
        body,
    })
    .unwrap_or_default()
}

fn unpack<T: DeserializeOwned>(kind: u32, payload: &[u8]) -> Result<T, ControlError> {
    let refuse = |reason: String| ControlError::Extension { kind, reason };
    let envelope: Envelope<T> =
        serde_json::from_slice(payload).map_err(|e| refuse(e.to_string()))?;
    if envelope.version != VERSION {
        return Err(refuse(format!(
            "version {} of the control messages, this program knows {VERSION}",
            envelope.version
        )));
    }
    Ok(envelope.body)
}

impl Ask {
    /// Number and payload.
    pub fn encode(&self) -> (u32, Vec<u8>) {
        let switch = |object: &ObjectId, on: bool| {
            pack(&SwitchBody {
                object: object.clone().into(),
                on,
            })
        };
        match self {
            Ask::Show(topic) => (SHOW, pack(topic)),
            Ask::Reload(file) => (RELOAD, pack(file)),
            Ask::Subscribe => (SUBSCRIBE, pack(&())),
            Ask::KillSession { pid, session } => (
                SESSION_KILL,
                pack(&KillBody {
                    pid: *pid,
                    session: *session,
                }),
            ),
            Ask::Drain { host, drain } => (DRAIN, switch(host, *drain)),
            Ask::SwitchRelay { relay, enable } => (RELAY_SWITCH, switch(relay, *enable)),
            Ask::Purge => (PURGE, pack(&())),
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// Unknown number, or JSON that is not this message.
    pub fn decode(kind: u32, payload: &[u8]) -> Result<Ask, ControlError> {
        Ok(match kind {
            SHOW => Ask::Show(unpack(kind, payload)?),
            RELOAD => Ask::Reload(unpack(kind, payload)?),
            SUBSCRIBE => {
                let () = unpack(kind, payload)?;
                Ask::Subscribe
            }
            SESSION_KILL => {
                let body: KillBody = unpack(kind, payload)?;
                Ask::KillSession {
                    pid: body.pid,
                    session: body.session,
                }
            }
            DRAIN => {
                let body: SwitchBody = unpack(kind, payload)?;
                Ask::Drain {
                    host: body.object.into(),
                    drain: body.on,
                }
            }
            RELAY_SWITCH => {
                let body: SwitchBody = unpack(kind, payload)?;
                Ask::SwitchRelay {
                    relay: body.object.into(),
                    enable: body.on,
                }
            }
            PURGE => {
                let () = unpack(kind, payload)?;
                Ask::Purge
            }
            unknown => return Err(ControlError::Unknown(unknown)),
        })
    }
}

/// An extension answer or event.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// One object of a list.
    Object(Box<Object>),
    /// One message of the parser.
    Message(String),
    /// How a reload ended.
    Verdict {
        /// The new configuration runs.
        accepted: bool,
        /// Number of the configuration that runs now.
        generation: u64,
    },
    /// Something happened.
    Event(Event),
}

#[derive(Serialize, Deserialize)]
struct VerdictBody {
    accepted: bool,
    generation: u64,
}

impl Answer {
    /// Number and payload.
    pub fn encode(&self) -> (u32, Vec<u8>) {
        match self {
            Answer::Object(object) => (OBJECT, pack(object)),
            Answer::Message(text) => (MESSAGE, pack(&cut(text, MESSAGE_TEXT_MAX / 6))),
            Answer::Verdict {
                accepted,
                generation,
            } => (
                VERDICT,
                pack(&VerdictBody {
                    accepted: *accepted,
                    generation: *generation,
                }),
            ),
            Answer::Event(event) => (EVENT, pack(event)),
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// Unknown number, or JSON that is not this message.
    pub fn decode(kind: u32, payload: &[u8]) -> Result<Answer, ControlError> {
        Ok(match kind {
            OBJECT => Answer::Object(unpack(kind, payload)?),
            MESSAGE => Answer::Message(unpack(kind, payload)?),
            VERDICT => {
                let body: VerdictBody = unpack(kind, payload)?;
                Answer::Verdict {
                    accepted: body.accepted,
                    generation: body.generation,
                }
            }
            EVENT => Answer::Event(unpack(kind, payload)?),
            unknown => return Err(ControlError::Unknown(unknown)),
        })
    }
}

/// `text` up to `max` bytes, at a character boundary.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
