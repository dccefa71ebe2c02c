//! relayd.conf: from text to a validated [`Config`], or to a list of every mistake in it.
//!
//! Pipeline: [`source`] files → [`lexer`] tokens with spans → grammar → [`model`] → validation.
//! Pure: the only effects (reading files, resolving names) come in through [`Source`] and [`Resolver`].

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
    /// Macros that were defined and never used (shown with `-v`).
    pub unused_macros: Vec<(String, Span)>,
}

impl Loaded {
    /// `warning: macro '…' not used` for each of [`Loaded::unused_macros`], with its place.
    pub fn macro_warnings(&self) -> Vec<Diagnostic> {
        self.unused_macros
            .iter()
            .map(|(name, span)| {
                Diagnostic::warning(*span, format!("warning: macro '{name}' not used"))
                    .cure("remove it, or use it as $NAME outside quotes")
            })
            .collect()
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
                unused_macros: Vec::new(),
            };
        }
    };
    let mut parser = grammar::Parser::new(lexer, resolver);
    parser.file();
    let grammar::Parser { lexer, config, .. } = parser;
    let unused_macros = lexer.unused_macros();
    Loaded {
        config: (!lexer.diagnostics.failed()).then_some(config),
        diagnostics: lexer.diagnostics,
        sources: lexer.sources,
        unused_macros,
    }
}
