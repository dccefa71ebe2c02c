//! relayd.conf: from text to a validated [`Config`], or to a list of every mistake in it.
//!
//! Pipeline: [`source`] files → [`lexer`] tokens with spans → grammar → [`model`] → validation.
//! Pure: the only effects (reading files, resolving names) come in through [`Source`] and [`Resolver`].

mod certificates;
pub mod diagnostic;
mod diff;
mod dump;
mod grammar;
pub mod keywords;
pub mod lexer;
pub mod limits;
pub mod model;
mod resolver;
mod source;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use diff::{Changes, Diff, diff, keep_ids};
pub use dump::{dump, modern, rule_line};
pub use model::Config;
pub use resolver::Resolver;
pub use source::{Source, Sources, Span};

use std::path::Path;

/// What became of a configuration file.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, unless there was an error.
    pub config: Option<Config>,
    /// Errors and warnings in the order of the file, then those about the whole.
    pub diagnostics: Diagnostics,
    /// The files that were read, for rendering the messages.
    pub sources: Sources,
    /// Where each relay's block ends: messages about its certificates point there.
    relay_ends: Vec<Span>,
}

impl Loaded {
    /// Judges the certificates, keys and authorities of all relays with TLS; `files` reads them. With `strict` a file
    /// that cannot be opened is an error, otherwise a warning; one that holds something else always is an error.
    pub fn check_certificates(&mut self, files: &dyn Source, strict: bool) {
        let Some(config) = &self.config else {
            return;
        };
        for fault in certificates::faults(config, &self.relay_ends, files, strict) {
            self.diagnostics.push(fault);
        }
        if self.diagnostics.failed() {
            self.config = None;
        }
    }
}

/// Reads a configuration. `macros` are those of `-D`: the file cannot change them.
pub fn load(
    path: &Path,
    macros: &[(String, String)],
    source: &dyn Source,
    resolver: &dyn Resolver,
) -> Loaded {
    let lexer = match lexer::Lexer::open(path, macros, source) {
        Ok(lexer) => lexer,
        Err(diagnostic) => {
            let mut diagnostics = Diagnostics::default();
            diagnostics.push(diagnostic);
            return Loaded {
                config: None,
                diagnostics,
                sources: Sources::default(),
                relay_ends: Vec::new(),
            };
        }
    };
    let mut parser = grammar::Parser::new(lexer, resolver);
    parser.file();
    let grammar::Parser {
        lexer,
        config,
        relay_ends,
        ..
    } = parser;
    Loaded {
        config: (!lexer.diagnostics.failed()).then_some(config),
        diagnostics: lexer.diagnostics,
        sources: lexer.sources,
        relay_ends,
    }
}
