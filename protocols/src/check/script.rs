//! `check script "PATH"`: a program decides.
//! Owns the meaning of its exit status.
//! Must never run it: the parent does.

use super::Outcome;
use crate::host::{HostState, Reason};

/// Judges an exit status: greater than 0 is up – the opposite of Unix custom, and every configuration relies on it.
/// `None`: it could not be run, or was killed by a signal or because its time was over.
pub fn script(status: Option<i32>) -> Outcome {
    match status {
        Some(status) if status > 0 => Outcome::up(Reason::ScriptOk),
        Some(status) if status < 0 => Outcome {
            state: Some(HostState::Unknown),
            reason: Reason::ScriptFailed,
            http_code: 0,
        },
        _ => Outcome::down(Reason::ScriptFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positive_status_is_up() {
        assert_eq!(script(Some(1)).state, Some(HostState::Up));
        assert_eq!(script(Some(0)).state, Some(HostState::Down));
        assert_eq!(script(None).state, Some(HostState::Down));
        assert_eq!(script(Some(-1)).state, Some(HostState::Unknown));
    }
}
