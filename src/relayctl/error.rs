//! Why relayctl ended without doing what was asked.
//! Owns the sentences on standard error and the exit status.
//! Must never print anything itself: `main` does.

use crate::words::ArgumentError;
use nix::errno::Errno;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Every way to fail.
#[derive(Debug)]
pub enum CtlError {
    /// A bad option; what was wrong with it, if there is more to say than the usage.
    Usage(Option<String>),
    /// A bad word.
    Argument(ArgumentError),
    /// The socket's path does not fit.
    PathTooLong(PathBuf),
    /// No connection.
    Connect(PathBuf, io::Error),
    /// The request could not be sent.
    Write(io::Error),
    /// The answer could not be read.
    Read(io::Error),
    /// The daemon closed the connection.
    Closed,
    /// Not the daemon's language.
    Protocol,
    /// An answer that belongs to something else.
    WrongMessage(&'static str, u32),
    /// A state that does not exist.
    InvalidStatus(i32),
    /// Standard output is gone: nobody reads, so nothing is said.
    OutputClosed,
    /// Standard output cannot be written.
    Output(io::Error),
    /// The daemon said no; standard output has the reason already.
    Refused,
    /// Another sentence.
    Other(String),
    /// Exit status of `check`; its line is printed already.
    Check(u8),
}

/// The system's words for an error, without Rust's number.
pub fn system_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

impl CtlError {
    /// Standard output failed.
    pub fn output(error: io::Error) -> CtlError {
        if error.kind() == io::ErrorKind::BrokenPipe {
            CtlError::OutputClosed
        } else {
            CtlError::Output(error)
        }
    }

    /// Exit status: 1 as the original's, unless `check` says otherwise.
    pub fn status(&self) -> u8 {
        match self {
            CtlError::Check(status) => *status,
            _ => 1,
        }
    }

    /// Whether there is anything to print.
    pub fn silent(&self) -> bool {
        matches!(
            self,
            CtlError::OutputClosed | CtlError::Refused | CtlError::Check(_)
        )
    }
}

impl fmt::Display for CtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CtlError::Usage(None) => write!(f, "{USAGE}"),
            CtlError::Usage(Some(text)) => write!(f, "relayctl: {text}\n{USAGE}"),
            CtlError::Argument(error) => error.fmt(f),
            CtlError::PathTooLong(path) => {
                write!(f, "relayctl: socket `{}' too long", path.display())
            }
            CtlError::Connect(path, error) => {
                let text = system_text(error);
                write!(f, "relayctl: connect: {}: {text}", path.display())
            }
            CtlError::Write(error) => write!(f, "relayctl: write error: {}", system_text(error)),
            CtlError::Read(error) => write!(f, "relayctl: read error: {}", system_text(error)),
            CtlError::Closed => write!(f, "relayctl: pipe closed"),
            CtlError::Protocol => write!(f, "relayctl: imsg_get error"),
            CtlError::WrongMessage(place, number) => {
                write!(f, "relayctl: wrong message in {place}: {number}")
            }
            CtlError::InvalidStatus(number) => write!(f, "relayctl: invalid status: {number}"),
            CtlError::Output(error) => {
                write!(f, "relayctl: standard output: {}", system_text(error))
            }
            CtlError::Other(text) => write!(f, "relayctl: {text}"),
            CtlError::OutputClosed | CtlError::Refused | CtlError::Check(_) => Ok(()),
        }
    }
}

/// The original's usage line.
pub const USAGE: &str = "usage: relayctl [-s socket] command [argument ...]";
