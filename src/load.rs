//! Reading relayd.conf for the daemon and for `-n`.
//! Owns the way from a path to a configuration or to the lines that say what is wrong.
//! Must never print.

use backends::resolver::{Files, System};
use conf::{Config, Diagnostic, Loaded, Place, Severity};
use std::path::Path;

/// A file that was read, with what is to be said about it.
pub struct Read {
    /// The configuration, if there is no error.
    pub config: Option<Config>,
    /// Every message, as the original's line and an excerpt.
    pub messages: Vec<Message>,
}

/// A message about the file.
pub struct Message {
    /// The configuration is refused because of it.
    pub error: bool,
    /// Its place in a file, if it has one.
    pub place: Option<Place>,
    /// The text of the first line, without the place.
    pub text: String,
    /// What to do about it.
    pub cure: Option<String>,
    /// All of it, for people.
    pub rendered: String,
}

/// What it means that a certificate or key cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// A warning: `-n` may run where keys cannot be read.
    Wanted,
    /// An error: the relay could not serve.
    Needed,
}

/// Reads a configuration file.
pub fn load(
    path: &Path,
    macros: &[(String, String)],
    certificates: Certificates,
    color: bool,
) -> Read {
    let mut loaded = conf::load(path, macros, &Files, &System);
    loaded.check_certificates(&Files, certificates == Certificates::Needed);
    let mut messages = messages(&loaded, color);
    if certificates == Certificates::Needed {
        let refused = without_tls(&loaded);
        if !refused.is_empty() {
            loaded.config = None;
        }
        messages.extend(refused);
    }
    if loaded.diagnostics.dropped > 0 {
        let text = format!("{} more messages", loaded.diagnostics.dropped);
        messages.push(unplaced(loaded.diagnostics.failed(), text));
    }
    Read {
        config: loaded.config,
        messages,
    }
}

/// Relays that want TLS, which the relay processes cannot speak yet: to serve them in plain text would be worse than
/// to refuse them.
fn without_tls(loaded: &Loaded) -> Vec<Message> {
    let relays = loaded.config.iter().flat_map(|config| &config.relays);
    let mut blocks: Vec<&str> = relays
        .filter(|relay| relay.listen.tls || relay.tls_client)
        .map(|relay| relay.block.as_str())
        .collect();
    blocks.dedup();
    let refused = blocks.iter().map(|block| {
        let text = format!("relay {block}: TLS is not available in this version, leave out 'tls'");
        unplaced(true, text)
    });
    refused.collect()
}

fn messages(loaded: &Loaded, color: bool) -> Vec<Message> {
    let list = loaded.diagnostics.list().iter();
    list.map(|d| message(loaded, d, color)).collect()
}

fn message(loaded: &Loaded, diagnostic: &Diagnostic, color: bool) -> Message {
    Message {
        error: diagnostic.severity == Severity::Error,
        place: diagnostic.place(&loaded.sources),
        text: diagnostic.text.clone(),
        cure: diagnostic.cure.clone(),
        rendered: diagnostic.render(&loaded.sources, color),
    }
}

fn unplaced(error: bool, text: String) -> Message {
    Message {
        error,
        place: None,
        rendered: text.clone(),
        text,
        cure: None,
    }
}
