//! Start of the daemon: everything that can fail, fails here, while a terminal can still be told.
//! Owns the order: configuration, privileges, packet filter, sockets, daemon(3), parent.
//! Must never start a process before all of that is done.

use crate::cli::Flags;
use crate::load::{self, Certificates};
use actors::logging;
use actors::options::{Backend, Options};
use actors::panics;
use actors::parent::{self, Launcher, Start};
use backends::filter::{self, FilterError, Kind, Ruleset};
use backends::sys::privileges::{self, Confinement, PrivilegeError};
use conf::Config;
use protocols::log::daemon as words;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// Says why there is no daemon.
pub fn refuse(errors: &[String]) -> ExitCode {
    for error in errors {
        eprintln!("relayd: {error}");
    }
    ExitCode::FAILURE
}

/// Starts the daemon; with `-d` returns when it has ended.
pub fn run(flags: &Flags, file: PathBuf, mut options: Options) -> ExitCode {
    let read = load::load(&file, &flags.macros, Certificates::Needed, false);
    for message in &read.messages {
        eprintln!("{}", message.rendered);
    }
    let Some(mut config) = read.config else {
        return ExitCode::FAILURE;
    };
    adjust(&mut config, flags.foreground);
    let confinement = match confinement(&options, flags.single_process) {
        Ok(confinement) => confinement,
        Err(error) => return refuse(&[error.to_string()]),
    };
    let why_not = choose_backend(&mut options);
    let troubles = match surroundings(&config, &options) {
        Ok(troubles) => troubles,
        Err(error) => return refuse(&[error.to_string()]),
    };
    let sockets = match parent::bind(&config, &options) {
        Ok(sockets) => sockets,
        Err(errors) => return refuse(&errors),
    };
    if !flags.foreground
        && let Err(error) = nix::unistd::daemon(true, false)
    {
        return refuse(&[format!("daemon: {error}")]);
    }
    logging::install(
        "parent",
        flags.foreground,
        flags.verbose,
        options.log_format,
    );
    panics::install();
    if !privileges::is_root() && !flags.single_process {
        tracing::info!("{}", words::unprivileged(&privileges::user_name()));
    }
    if let Some(why) = why_not.filter(|_| !config.redirects.is_empty()) {
        tracing::info!("redirects are served in user space: {why}");
    }
    for trouble in &troubles {
        tracing::warn!("{trouble}");
    }
    let options = Arc::new(options);
    let start = Start {
        launcher: Launcher {
            options: Arc::clone(&options),
            confinement,
            transparent: config.relays.iter().any(|relay| relay.transparent),
            foreground: flags.foreground,
            in_process: flags
                .single_process
                .then_some(parent::child::in_process as parent::RunRole),
        },
        config,
        file,
        loader: loader(flags, options, troubles),
        verbose: flags.verbose,
        sockets,
    };
    match parent::run(start) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The original logs state changes whenever it runs in the foreground.
fn adjust(config: &mut Config, foreground: bool) {
    config.globals.log.state_changes |= foreground;
}

/// What this system lacks for the redirects. It is looked at here, since the process that serves them sees an empty root
/// directory only.
fn surroundings(config: &Config, options: &Options) -> Result<Vec<String>, FilterError> {
    if config.redirects.is_empty() {
        return Ok(Vec::new());
    }
    // `auto` is decided already.
    let kind = options.backend.kind().unwrap_or(Kind::Userland);
    let desired = Ruleset::all_up(config, options.count_traffic);
    filter::verify(kind, &desired)?;
    filter::surroundings(kind, &options.table, &desired)
}

/// Reads and judges a file; a trouble of the system that was `told` once is not told again.
fn loader(flags: &Flags, options: Arc<Options>, told: Vec<String>) -> parent::Loader {
    let (macros, foreground) = (flags.macros.clone(), flags.foreground);
    let told = Mutex::new(told);
    Arc::new(move |path: &Path| {
        let read = load::load(path, &macros, Certificates::Needed, false);
        let mut errors = Vec::new();
        for message in read.messages {
            if message.error {
                errors.push(message.rendered);
            } else {
                tracing::warn!("{}", message.rendered);
            }
        }
        match read.config {
            Some(mut config) => {
                adjust(&mut config, foreground);
                let now = surroundings(&config, &options).map_err(|e| vec![e.to_string()])?;
                if let Ok(mut told) = told.lock() {
                    for trouble in now.iter().filter(|trouble| !told.contains(trouble)) {
                        tracing::warn!("{trouble}");
                    }
                    // What was cured meanwhile may come again.
                    *told = now;
                }
                Ok(config)
            }
            None => Err(errors),
        }
    })
}

/// Whom the children run as. Not root: as ourselves. In one process only check scripts change their user.
fn confinement(
    options: &Options,
    single_process: bool,
) -> Result<Option<Confinement>, PrivilegeError> {
    if !privileges::is_root() {
        return Ok(None);
    }
    let found = privileges::lookup(&options.user, &options.group, &options.chroot);
    if single_process {
        // A container rarely has our user, but scripts never run as root.
        return found
            .or_else(|_| privileges::lookup("nobody", "", &options.chroot))
            .map(Some);
    }
    let confinement = found?;
    if let Some(root) = &confinement.chroot {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(root)
            .map_err(|source| PrivilegeError::System {
                what: format!("chroot {}", root.display()),
                source,
            })?;
    }
    Ok(Some(confinement))
}

/// Turns `auto` into a packet filter; answers why it is not the system's own.
fn choose_backend(options: &mut Options) -> Option<filter::FilterError> {
    if options.backend != Backend::Auto {
        return None;
    }
    let choice = filter::choose();
    options.backend = choice.kind.into();
    choice.why_not
}
