//! A child process from its first message to its last line.
//! Owns the order of its start: options, log, privileges, event loop, role.
//! Must never run a role with privileges that the role does not need.

use crate::error::RoleError;
use crate::link::transport::{self, TransportError};
use crate::link::{Link, Message, PARENT, Role, message};
use crate::logging;
use crate::options::Options;
use crate::status::sample;
use crate::{ca, hce, panics, pfe, relay, status};
use backends::sys::privileges::{self, PrivilegeError};
use backends::sys::signals;
use futures_util::future::LocalBoxFuture;
use protocols::log::daemon as words;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// How long a role may go on after its parent is gone, and how long its last messages may take.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

/// Why a child ended with an error.
#[derive(Debug, Error)]
enum ChildError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("relayd starts this process itself, it cannot be started by hand")]
    Foreign,
    #[error("{0}: {1}")]
    Role(&'static str, RoleError),
}

/// Runs the child process whose parent is at the other end of `link`: all it must know comes from there.
pub fn main(link: UnixStream) -> ExitCode {
    panics::install();
    match child(link) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn child(mut link: UnixStream) -> Result<(), ChildError> {
    let Message::Boot {
        me,
        options,
        confinement,
        keep,
        foreground,
        verbose,
    } = transport::read_first(&mut link)?
    else {
        return Err(ChildError::Foreign);
    };
    logging::install(me.role.name(), foreground, verbose, options.log_format);
    signals::ignore_in_child()?;
    privileges::set_process_name("relayd");
    let limit = privileges::raise_open_files()?;
    sample::prepare(me);
    if let Some(to) = confinement {
        privileges::confine(&to, keep)?;
    }
    runtime().block_on(async move {
        let (link, end) = transport::child_end(link, me, |message| {
            if let Message::Verbose { level } = message {
                logging::set_verbose(*level);
            }
        })?;
        logging::fall_back_to(link.sender.clone());
        if me.role == Role::Relay {
            tracing::debug!("{}", words::open_files(limit));
        }
        let parent = link.sender.clone();
        let result = tokio::select! {
            result = run(link, options) => result,
            () = orphaned(parent) => Ok(()),
        };
        end.finish(ORPHAN_LIMIT).await;
        result.map_err(|error| ChildError::Role(me.role.name(), error))
    })
}

/// One thread, no work stealing; and no `LocalSet`, which writes to an event descriptor each time that a socket wakes a
/// task. A system without an event loop cannot run the daemon at all, hence no error type.
#[allow(clippy::expect_used)]
pub(super) fn runtime() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("the kernel gives no event loop")
}

/// Returns some time after the parent is gone: a role that hangs must not stay behind.
async fn orphaned(parent: crate::link::Sender) {
    parent.closed().await;
    tokio::time::sleep(ORPHAN_LIMIT).await;
}

/// [`run`] as [`super::Launcher::in_process`] wants it.
pub fn in_process(
    link: Link,
    options: Arc<Options>,
) -> LocalBoxFuture<'static, Result<(), RoleError>> {
    Box::pin(run(link, options))
}

/// Runs a role in good order: says that it is there, and that it ends.
///
/// # Errors
/// Those of the role.
pub(super) async fn run(link: Link, options: Arc<Options>) -> Result<(), RoleError> {
    let me = link.me;
    let ready = Message::Ready {
        version: message::VERSION,
        pid: std::process::id(),
    };
    link.sender.tell(PARENT, ready).await?;
    if options.metrics.is_some() {
        sample::spawn(link.sender.clone(), me);
    }
    match me.role {
        Role::Hce => hce::run(link, options).await,
        Role::Pfe => pfe::run(link, options).await,
        Role::Relay => relay::run(link, options).await,
        Role::Ca => ca::run(link, options).await,
        Role::Status => status::run(link, options).await,
        Role::Parent => Err(RoleError::Other("the parent is no child".to_owned())),
    }?;
    tracing::info!("{}", words::exiting(me.role.name(), std::process::id()));
    Ok(())
}
