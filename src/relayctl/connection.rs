//! The connection to the daemon's control socket.
//! Owns the socket and the decoder of its frames.
//! Must never interpret an answer beyond reading it.

use crate::error::CtlError;
use protocols::control::{ControlError, Decoder, Frame, Reply, Request};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Bytes of `sun_path` with its NUL.
const PATH_MAX: usize = if cfg!(target_os = "linux") { 108 } else { 104 };

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
}

/// An answer as it came, and its meaning.
pub type Received = (Frame, Result<Reply, ControlError>);

impl Connection {
    /// Connects to the socket at `path`.
    pub fn open(path: &Path) -> Result<Connection, CtlError> {
        if path.as_os_str().len() >= PATH_MAX {
            return Err(CtlError::PathTooLong(path.to_owned()));
        }
        let stream =
            UnixStream::connect(path).map_err(|e| CtlError::Connect(path.to_owned(), e))?;
        Ok(Connection {
            stream,
            decoder: Decoder::new(),
        })
    }

    /// Sends a request.
    pub fn send(&mut self, request: &Request) -> Result<(), CtlError> {
        let bytes = request.to_frame(std::process::id()).to_bytes();
        if bytes.is_empty() {
            return Err(CtlError::Other("argument too long".to_owned()));
        }
        self.stream.write_all(&bytes).map_err(CtlError::Write)
    }

    /// Bounds the wait for an answer; `None` waits for ever.
    pub fn patience(&mut self, time: Option<Duration>) -> Result<(), CtlError> {
        self.stream.set_read_timeout(time).map_err(CtlError::Read)
    }

    /// The next answer.
    pub fn receive(&mut self) -> Result<Received, CtlError> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => {
                    let reply = Reply::from_frame(&frame);
                    return Ok((frame, reply));
                }
                Ok(None) => {}
                Err(_) => return Err(CtlError::Protocol),
            }
            let mut buffer = [0; 16384];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(CtlError::Closed),
                Ok(n) => self.decoder.push(buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(CtlError::Read(e)),
            }
        }
    }

    /// The next answer, which must be one that is known; `place` is for the message otherwise.
    pub fn reply(&mut self, place: &'static str) -> Result<(Frame, Reply), CtlError> {
        let (frame, reply) = self.receive()?;
        match reply {
            Ok(reply) => Ok((frame, reply)),
            Err(ControlError::Value {
                field: "status",
                value,
                ..
            }) => Err(CtlError::InvalidStatus(value)),
            Err(ControlError::Size { .. }) => Err(CtlError::Protocol),
            Err(_) => Err(CtlError::WrongMessage(place, frame.kind)),
        }
    }
}
