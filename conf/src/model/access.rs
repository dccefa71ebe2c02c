//! Access logs: a line for each request or session of a relay (extension).
//! Owns their description.
//! Must never open what they are written to.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// `log access [combined | json] [with …] to …`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// Form of the lines.
    pub form: AccessForm,
    /// Values of URL queries are written; otherwise only their names are.
    pub query: bool,
    /// Request header fields whose values are written, as spelt in the file.
    pub headers: Vec<String>,
    /// Where the lines go.
    pub target: AccessTarget,
}

/// Form of the lines of an access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessForm {
    /// That of web servers, with further fields at its end.
    #[default]
    Combined,
    /// One JSON object a line.
    Json,
}

/// Where the lines of an access log go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AccessTarget {
    /// `to file PATH`: appended to.
    File(PathBuf),
    /// `to syslog`
    Syslog,
    /// `to journald`, with fields.
    Journald,
}

impl fmt::Display for AccessTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessTarget::File(path) => write!(f, "{}", path.display()),
            AccessTarget::Syslog => f.write_str("syslog"),
            AccessTarget::Journald => f.write_str("journald"),
        }
    }
}
