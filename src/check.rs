//! `relayd -n`: says whether a configuration is good, and what it comes to.
//! Owns the answers of `-n` in all its forms.
//! Must never need a privilege, nor touch anything that runs.

use crate::cli::Flags;
use crate::load;
use actors::options::Options;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

/// Checks the configuration and prints what was asked for; answers the exit status.
pub fn run(flags: &Flags, file: &Path, _options: &Options) -> ExitCode {
    let loaded = load::load(file, &flags.macros, std::io::stderr().is_terminal());
    for message in &loaded.messages {
        eprintln!("{message}");
    }
    if loaded.config.is_none() {
        return ExitCode::FAILURE;
    }
    eprintln!("configuration OK");
    ExitCode::SUCCESS
}
