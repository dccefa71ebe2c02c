//! The parent: configuration, children, sockets, privileges.
//! Owns the start and the end of the daemon, every reload, and the restart of whatever dies.
//! Must never read a byte from the network, nor trust a child beyond the table of permitted messages.
//!
//! Life of a reload: read and validate (outside the event loop) → keep ids, count differences → open new sockets →
//! `Stage` to every process → all agree → `Commit`; if anything fails → `Abort`, and nothing has changed.

mod actor;
mod change;
pub mod child;
mod children;
mod lifecycle;
mod memory;
mod script;
mod scripts;
mod seed;
pub mod sockets;
mod supervisor;
mod verdict;

pub use actor::Parent;
pub use children::{Launcher, PARENT_PEER, RunRole};

use crate::options::Options;
use backends::sys::signals;
use conf::Config;
use sockets::{Places, Sockets};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use thiserror::Error;

/// What the name of a child process begins with; the executable tells by it that it is to be a child.
pub const TITLE_PREFIX: &str = "relayd: ";

/// Reads a configuration file: from its path to a complete configuration, or to the lines that say what is wrong.
pub type Loader = Arc<dyn Fn(&Path) -> Result<Config, Vec<String>> + Send + Sync>;

/// All that is decided before the daemon leaves its terminal.
pub struct Start {
    /// Options and privileges.
    pub launcher: Launcher,
    /// The configuration.
    pub config: Config,
    /// Its file.
    pub file: PathBuf,
    /// Reads it again.
    pub loader: Loader,
    /// Debug level.
    pub verbose: u8,
    /// The sockets of `config`.
    pub sockets: Sockets,
}

/// A system call without which there is no daemon.
#[derive(Debug, Error)]
#[error("{what}: {source}")]
pub struct StartError {
    what: &'static str,
    source: std::io::Error,
}

/// Opens the sockets of a configuration.
///
/// # Errors
/// One sentence for each socket that cannot be opened.
pub fn bind(config: &Config, options: &Options) -> Result<Sockets, Vec<String>> {
    Sockets::default().stage(config, &Places::new(options))
}

/// Runs the daemon until it is told to end; answers its exit status.
///
/// # Errors
/// The system gives no signals.
pub fn run(start: Start) -> Result<ExitCode, StartError> {
    let failed = |what| move |source| StartError { what, source };
    signals::ignore_in_parent().map_err(failed("signals"))?;
    child::runtime().block_on(async move {
        let end = Parent::begin(start).map_err(failed("signals"))?;
        // The parent cannot go away without saying how: then something is very wrong.
        Ok(end.await.unwrap_or(ExitCode::FAILURE))
    })
}

#[cfg(test)]
mod tests;
