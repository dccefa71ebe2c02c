//! Why a role ended although nobody asked it to.
//! Owns the error of every `run` function.
//! Must never be logged twice: the code around `run` logs it, and the parent restarts the process.

use crate::link::LinkError;
use thiserror::Error;

/// A role cannot go on; its process ends with status 1 and the parent restarts it.
#[derive(Debug, Error)]
pub enum RoleError {
    /// The parent is gone or does not take messages.
    #[error("link to the parent: {0}")]
    Link(#[from] LinkError),
    /// A system call failed that the role cannot do without.
    #[error("{object}: {source}")]
    System {
        /// What was being worked on, in the operator's words.
        object: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The packet filter refused to work at all.
    #[error("packet filter: {0}")]
    Filter(#[from] backends::filter::FilterError),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

impl RoleError {
    /// A failed system call on `object`.
    pub fn system(object: impl Into<String>, source: std::io::Error) -> RoleError {
        RoleError::System {
            object: object.into(),
            source,
        }
    }
}
