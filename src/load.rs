//! Reading relayd.conf for the daemon and for `-n`.
//! Owns the way from a path to a configuration or to the lines that say what is wrong.
//! Must never print.

use backends::resolver::{Files, System};
use conf::{Config, Loaded, Severity};
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
    /// File and line, if it has a place.
    pub place: Option<(String, u32)>,
    /// The text of the first line, without the place.
    pub text: String,
    /// What to do about it.
    pub cure: Option<String>,
    /// All of it, for people.
    pub rendered: String,
}

/// Reads a configuration file. Macros that are never used are mentioned only with `verbose`, as in the original.
pub fn load(path: &Path, macros: &[(String, String)], verbose: bool, color: bool) -> Read {
    let loaded = conf::load(path, macros, &Files, &System);
    let mut messages = messages(&loaded, color);
    if verbose {
        messages.extend(loaded.unused_macros.iter().map(|name| {
            let text = format!("warning: macro '{name}' not used");
            unplaced(false, text)
        }));
    }
    if loaded.diagnostics.dropped > 0 {
        let text = format!("{} more messages", loaded.diagnostics.dropped);
        messages.push(unplaced(true, text));
    }
    Read {
        config: loaded.config,
        messages,
    }
}

fn messages(loaded: &Loaded, color: bool) -> Vec<Message> {
    loaded
        .diagnostics
        .list()
        .iter()
        .map(|diagnostic| Message {
            error: diagnostic.severity == Severity::Error,
            place: diagnostic
                .span
                .and_then(|span| loaded.sources.place(span))
                .map(|(path, line)| (path.display().to_string(), line)),
            text: diagnostic.text.clone(),
            cure: diagnostic.cure.clone(),
            rendered: diagnostic.render(&loaded.sources, color),
        })
        .collect()
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
