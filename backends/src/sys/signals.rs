//! Signals that a process must not react to.
//! Owns the call that ignores them.
//! Must never install a handler: the parent reads its signals through the event loop.
#![allow(unsafe_code)]

use nix::sys::signal::{SigHandler, Signal, signal};

/// Ignores what a terminal or service manager sends to the whole process group: a child ends when its parent says so.
///
/// # Errors
/// None in practice; a signal number the system does not know.
pub fn ignore_in_child() -> std::io::Result<()> {
    ignore(&[
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGPIPE,
    ])
}

/// Ignores what the original ignores in its parent.
///
/// # Errors
/// As [`ignore_in_child`].
pub fn ignore_in_parent() -> std::io::Result<()> {
    ignore(&[Signal::SIGUSR1, Signal::SIGPIPE])
}

fn ignore(signals: &[Signal]) -> std::io::Result<()> {
    for &number in signals {
        // SAFETY: SIG_IGN runs no code, so nothing can be called in a signal context.
        unsafe { signal(number, SigHandler::SigIgn) }?;
    }
    Ok(())
}
