//! `relayd -n`: says whether a configuration is good, and what it comes to.
//! Owns the answers of `-n` in all its forms.
//! Must never need a privilege, nor touch anything that runs.

use crate::cli::Flags;
use crate::load::{self, Message};
use crate::start;
use actors::options::{Backend, Options};
use backends::filter::{self, Kind, Ruleset, ServerState, Service};
use conf::Config;
use conf::model::HashKey;
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

/// Checks the configuration and prints what was asked for; answers the exit status.
pub fn run(flags: &Flags, file: &Path, options: &Options) -> ExitCode {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let read = load::load(file, &flags.macros, flags.verbose > 0 || flags.json, color);
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
    // With `auto`, what will serve redirects is known only where the daemon runs.
    let named = match options.backend {
        Backend::Nftables => Some(Kind::Nftables),
        Backend::Userland => Some(Kind::Userland),
        _ => None,
    };
    if let Some(Err(error)) = named.map(|kind| filter::verify(kind, &all_up(&config))) {
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
        (None, Backend::Nftables) => Kind::Nftables,
        (None, Backend::Pf) => Kind::Pf,
        (None, Backend::Userland) => Kind::Userland,
        (None, Backend::Recording) => Kind::Recording,
        (None, Backend::Auto) if cfg!(target_os = "linux") => Kind::Nftables,
        (None, Backend::Auto) => Kind::Pf,
    };
    let desired = all_up(config);
    filter::verify(kind, &desired).map_err(|e| e.to_string())?;
    Ok(filter::preview(kind, &options.table, &desired))
}

/// The redirects with every host up.
fn all_up(config: &Config) -> Ruleset {
    let services = config
        .redirects
        .iter()
        .map(|redirect| {
            let key = redirect.key.unwrap_or(HashKey([0; 16]));
            let mut service = Service::new(config, redirect, key);
            service.active = !redirect.disabled;
            for server in &mut service.servers {
                server.state = ServerState::Up;
            }
            service
        })
        .collect();
    Ruleset { services }
}
