//! relayd: the daemon.
//! Owns the order of its start: flags, options, configuration, sockets, daemon, roles.
//! Must never do work of its own: it hands over to the parent role.

mod check;
mod cli;
mod load;
mod settings;
mod start;

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

const CONFIGURATION: &str = "/etc/relayd.conf";

fn main() -> ExitCode {
    // Whoever starts us may have signals blocked, and a daemon that cannot hear SIGTERM cannot be stopped.
    let _ = nix::sys::signal::SigSet::all().thread_unblock();
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if name
        .as_bytes()
        .starts_with(actors::parent::TITLE_PREFIX.as_bytes())
    {
        return match child_link() {
            Ok(link) => actors::parent::child::main(link),
            Err(_) => ExitCode::FAILURE,
        };
    }
    let flags = match cli::parse(arguments) {
        Ok(flags) => flags,
        Err(cli::Wrong(text)) => {
            if let Some(text) = text {
                eprintln!("{text}");
            }
            eprintln!("{}", cli::USAGE);
            return ExitCode::FAILURE;
        }
    };
    if flags.help || flags.version {
        if flags.help {
            print!("{}", cli::help());
        } else {
            println!("relayd {}", env!("CARGO_PKG_VERSION"));
        }
        return ExitCode::SUCCESS;
    }
    let file = flags
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from(CONFIGURATION));
    let options = match settings::read(&flags, &file) {
        Ok(options) => options,
        Err(errors) => return start::refuse(&errors),
    };
    if flags.check {
        check::run(&flags, &file, &options)
    } else {
        start::run(&flags, file, options)
    }
}

/// A child's link is its standard input.
fn child_link() -> std::io::Result<UnixStream> {
    let link = std::io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(null)?;
    Ok(UnixStream::from(link))
}
