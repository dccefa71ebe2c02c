//! Panics: one session may die of a bug, a role may not linger after one.
//! Owns the panic hook and the edge at which a session's panic is caught.
//! Must never let a panic outside a session go unnoticed: the process aborts and the parent restarts it.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use thiserror::Error;

thread_local! {
    /// Depth of [`Caught`] futures being polled on this thread.
    static SESSIONS: Cell<u32> = const { Cell::new(0) };
}

/// The future panicked; the panic hook has logged where.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("internal error")]
pub struct Panicked;

/// Catches a panic of a session's future: `catch(session).await` is `Err(Panicked)` then, and the process lives on.
pub fn catch<F: Future>(future: F) -> Caught<F> {
    Caught {
        future: Box::pin(future),
    }
}

/// See [`catch`].
pub struct Caught<F> {
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        SESSIONS.set(SESSIONS.get().saturating_add(1));
        let future = self.future.as_mut();
        let result = catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
        SESSIONS.set(SESSIONS.get().saturating_sub(1));
        match result {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

/// Installs the panic hook: logs every panic and aborts unless a session is being polled.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        let text = info
            .payload()
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| info.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let session = SESSIONS.get() > 0;
        let what = if session { "session" } else { "process" };
        tracing::error!("internal error, {what} ends: {text} at {place}");
        if !session {
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used)]
    use super::*;

    #[test]
    fn outside_a_session_the_process_dies() {
        use std::os::unix::process::ExitStatusExt;
        const DIE: &str = "RELAYD_TEST_PANICS";
        // The same test again, in a process that may die.
        if std::env::var_os(DIE).is_some() {
            install();
            panic!("role bug");
        }
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "panics::tests::outside_a_session_the_process_dies",
            ])
            .env(DIE, "1")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        let abort = nix::sys::signal::Signal::SIGABRT as i32;
        assert_eq!(status.signal(), Some(abort), "{status}");
    }

    #[tokio::test]
    async fn a_panic_inside_is_an_error_and_the_depth_is_restored() {
        let result = catch(async {
            tokio::task::yield_now().await;
            if SESSIONS.get() == 1 {
                panic!("session bug");
            }
        })
        .await;
        assert_eq!(result, Err(Panicked));
        assert_eq!(SESSIONS.get(), 0);
        assert_eq!(catch(async { 7 }).await, Ok(7));
    }
}
