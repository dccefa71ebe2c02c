//! What a control client asks for.
//! Owns the requests and their frames.
//! Must never accept a payload of the wrong size: the original ended on one, we refuse the client.

use super::bytes::{get_i32, get_text, get_u32, put, put_text};
use super::extension::{self, Ask};
use super::imsg::Frame;
use super::layout::P77;
use super::record::EMPTY_ID;
use super::{ControlError, kind};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// How a request names an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectId {
    /// By number.
    Id(u32),
    /// By name, at most 63 bytes.
    Name(String),
}

impl ObjectId {
    /// A word of the command line: a decimal number up to 4294967295 is an id, everything else a name cut to 63 bytes.
    pub fn from_word(word: &str) -> ObjectId {
        let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        match word.parse::<u32>() {
            Ok(id) if digits => ObjectId::Id(id),
            _ => {
                let mut end = word.len().min(P77.object_id.name.size - 1);
                while !word.is_char_boundary(end) {
                    end -= 1;
                }
                ObjectId::Name(word.get(..end).unwrap_or_default().to_owned())
            }
        }
    }

    /// The `ctl_id` of 68 bytes.
    pub fn to_image(&self) -> Vec<u8> {
        let at = &P77.object_id;
        let mut image = vec![0; at.size];
        let (id, name) = match self {
            ObjectId::Id(id) => (*id, ""),
            ObjectId::Name(name) => (EMPTY_ID, name.as_str()),
        };
        put(&mut image, at.id, &id.to_ne_bytes());
        put_text(&mut image, at.name.at, at.name.size, name);
        image
    }

    /// Reads a `ctl_id`.
    ///
    /// # Errors
    /// The size is not exactly 68 bytes.
    pub fn from_payload(kind: u32, payload: &[u8]) -> Result<ObjectId, ControlError> {
        let at = &P77.object_id;
        exactly(kind, payload, at.size)?;
        let id = get_u32(payload, at.id);
        Ok(if id == EMPTY_ID {
            ObjectId::Name(get_text(payload, at.name.at, at.name.size))
        } else {
            ObjectId::Id(id)
        })
    }
}

/// What is enabled or disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A redirection.
    Redirect,
    /// A table instance.
    Table,
    /// A host.
    Host,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// List all objects.
    ShowSummary,
    /// List the sessions.
    ShowSessions,
    /// Enable or disable an object.
    Switch {
        /// What kind of object.
        class: Class,
        /// Which.
        object: ObjectId,
        /// On.
        enable: bool,
    },
    /// Check all hosts now.
    Poll,
    /// Send events from now on.
    Monitor,
    /// Load the configuration again, or another file.
    Reload(Option<PathBuf>),
    /// End the daemon.
    Stop,
    /// Debug level.
    Verbose(i32),
    /// A JSON request.
    Extension(Ask),
}

fn exactly(kind: u32, payload: &[u8], expected: usize) -> Result<(), ControlError> {
    if payload.len() == expected {
        Ok(())
    } else {
        Err(ControlError::Size {
            kind,
            length: payload.len(),
            expected,
        })
    }
}

impl Request {
    /// Number of an enable or disable request.
    pub fn switch_kind(class: Class, enable: bool) -> u32 {
        match (class, enable) {
            (Class::Redirect, true) => kind::RDR_ENABLE,
            (Class::Redirect, false) => kind::RDR_DISABLE,
            (Class::Table, true) => kind::TABLE_ENABLE,
            (Class::Table, false) => kind::TABLE_DISABLE,
            (Class::Host, true) => kind::HOST_ENABLE,
            (Class::Host, false) => kind::HOST_DISABLE,
        }
    }

    /// The request as a frame from process `pid`.
    pub fn to_frame(&self, pid: u32) -> Frame {
        let (kind, payload) = match self {
            Request::ShowSummary => (kind::SHOW_SUM, Vec::new()),
            Request::ShowSessions => (kind::SESSION, Vec::new()),
            Request::Switch {
                class,
                object,
                enable,
            } => (Self::switch_kind(*class, *enable), object.to_image()),
            Request::Poll => (kind::POLL, Vec::new()),
            Request::Monitor => (kind::NOTIFY, Vec::new()),
            Request::Reload(file) => (
                kind::RELOAD,
                file.as_ref()
                    .map(|f| f.as_os_str().as_bytes().to_vec())
                    .unwrap_or_default(),
            ),
            Request::Stop => (kind::SHUTDOWN, Vec::new()),
            Request::Verbose(level) => (kind::VERBOSE, level.to_ne_bytes().to_vec()),
            Request::Extension(ask) => ask.encode(),
        };
        Frame::new(kind, pid, payload)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`ControlError::Unknown`] for a number that is no request (to be ignored); anything else costs the connection.
    pub fn from_frame(frame: &Frame) -> Result<Request, ControlError> {
        let payload = frame.payload.as_slice();
        let switch = |class, enable| {
            Ok(Request::Switch {
                class,
                object: ObjectId::from_payload(frame.kind, payload)?,
                enable,
            })
        };
        let plain = |request| exactly(frame.kind, payload, 0).map(|()| request);
        match frame.kind {
            kind::SHOW_SUM => plain(Request::ShowSummary),
            kind::SESSION => plain(Request::ShowSessions),
            kind::RDR_ENABLE => switch(Class::Redirect, true),
            kind::RDR_DISABLE => switch(Class::Redirect, false),
            kind::TABLE_ENABLE => switch(Class::Table, true),
            kind::TABLE_DISABLE => switch(Class::Table, false),
            kind::HOST_ENABLE => switch(Class::Host, true),
            kind::HOST_DISABLE => switch(Class::Host, false),
            kind::POLL => plain(Request::Poll),
            kind::NOTIFY => plain(Request::Monitor),
            kind::SHUTDOWN => plain(Request::Stop),
            kind::RELOAD => file(payload).map(Request::Reload),
            kind::VERBOSE => {
                exactly(frame.kind, payload, 4)?;
                Ok(Request::Verbose(get_i32(payload, 0)))
            }
            extension::FIRST.. => Ask::decode(frame.kind, payload).map(Request::Extension),
            unknown => Err(ControlError::Unknown(unknown)),
        }
    }
}

/// The file name of `load`; an empty one means the daemon's own file.
fn file(payload: &[u8]) -> Result<Option<PathBuf>, ControlError> {
    if payload.contains(&0) {
        return Err(ControlError::Value {
            kind: kind::RELOAD,
            field: "byte in the file name",
            value: 0,
        });
    }
    if payload.is_empty() {
        return Ok(None);
    }
    Ok(Some(PathBuf::from(OsString::from_vec(payload.to_vec()))))
}
