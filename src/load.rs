//! Reading relayd.conf for the daemon and for `-n`.
//! Owns the way from a path to a configuration or to the lines that say what is wrong.
//! Must never print.

use backends::resolver::{Files, System};
use conf::Config;
use std::path::Path;

/// What came of a file.
pub struct Loaded {
    /// The configuration, if there is no error.
    pub config: Option<Config>,
    /// Messages, the original's line first.
    pub messages: Vec<String>,
}

/// Reads a configuration file. `color`: the messages go to a terminal.
pub fn load(path: &Path, macros: &[(String, String)], color: bool) -> Loaded {
    let loaded = conf::load(path, macros, &Files, &System);
    let mut messages: Vec<String> = loaded
        .diagnostics
        .list()
        .iter()
        .map(|d| d.render(&loaded.sources, color))
        .collect();
    if loaded.diagnostics.dropped > 0 {
        messages.push(format!("and {} more", loaded.diagnostics.dropped));
    }
    Loaded {
        config: loaded.config,
        messages,
    }
}
