//! `relayd -n`: says whether a configuration is good, and what it comes to.
//! Owns the answers of `-n` in all its forms.
//! Must never need a privilege, nor touch anything that runs.

use crate::cli::Flags;
use crate::load::{self, Certificates, Message};
use crate::start;
use actors::options::{Backend, Options};
use backends::filter::{self, FilterError, Kind, Ruleset};
use backends::sys::privileges;
use conf::Config;
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

/// Checks the configuration and prints what was asked for; answers the exit status.
pub fn run(flags: &Flags, file: &Path, options: &Options) -> ExitCode {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let read = load::load(file, &flags.macros, Certificates::Wanted, color);
    if flags.json {
        println!("{}", as_json(read.config.as_ref(), &read.messages));
        return ExitCode::from(u8::from(read.config.is_none()));
    }
    for message in &read.messages {
        eprintln!("{}", message.rendered);
    }
    let Some(config) = read.config else {
        return ExitCode::FAILURE;
    };
    if let Some(backend) = &flags.rules {
        return match rules(&config, backend.as_deref(), options) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => start::refuse(&[error]),
        };
    }
    if flags.modern {
        print!("{}", conf::modern(&config));
        return ExitCode::SUCCESS;
    }
    if let Err(error) = redirects(&config, options) {
        return start::refuse(&[error.to_string()]);
    }
    if flags.verbose > 0 {
        print!("{}", conf::dump(&config));
    }
    eprintln!("configuration OK");
    ExitCode::SUCCESS
}

fn as_json(config: Option<&Config>, messages: &[Message]) -> serde_json::Value {
    let diagnostics: Vec<_> = messages
        .iter()
        .map(|message| {
            let place = message.place.as_ref();
            json!({
                "severity": if message.error { "error" } else { "warning" },
                "file": place.map(|p| &p.file),
                "line": place.map(|p| p.line),
                "column": place.map(|p| p.column),
                "end_line": place.map(|p| p.end_line),
                "end_column": place.map(|p| p.end_column),
                "text": message.text,
                "cure": message.cure,
            })
        })
        .collect();
    json!({ "ok": config.is_some(), "diagnostics": diagnostics, "configuration": config })
}

/// What the packet filter would be told if every host were up.
fn rules(config: &Config, name: Option<&str>, options: &Options) -> Result<String, String> {
    let kind = match (name, options.backend) {
        (Some(name), _) => name.parse::<Kind>().map_err(|e| e.to_string())?,
        (None, Backend::Auto) => system(),
        (None, _) => serving(options),
    };
    let desired = Ruleset::all_up(config, options.count_traffic);
    filter::verify(kind, &desired).map_err(|e| e.to_string())?;
    Ok(filter::preview(kind, &options.table, &desired))
}

/// Whether the packet filter that would serve the redirects can do what they ask for; what this system lacks is a warning,
/// since the file may be another system's.
fn redirects(config: &Config, options: &Options) -> Result<(), FilterError> {
    if config.redirects.is_empty() {
        return Ok(());
    }
    let kind = serving(options);
    let desired = Ruleset::all_up(config, options.count_traffic);
    filter::verify(kind, &desired)?;
    if privileges::is_root()
        && let Err(error) = filter::surroundings(kind, &options.table, &desired)
    {
        eprintln!("relayd: warning: {error}");
    }
    Ok(())
}

/// The packet filter that a daemon with these options would use. Only root can know what the kernel allows; for others it
/// is the system's own, as the daemon will be started by root.
fn serving(options: &Options) -> Kind {
    options.backend.kind().unwrap_or_else(|| {
        if privileges::is_root() {
            filter::choose().kind
        } else {
            system()
        }
    })
}

/// The packet filter of this kind of system.
fn system() -> Kind {
    if cfg!(target_os = "linux") {
        Kind::Nftables
    } else {
        Kind::Pf
    }
}
