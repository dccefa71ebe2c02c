//! `include "file"`.
//! Owns the limits on files within files.
//! Must never read a file twice into itself.

use super::{Input, Lexer};
use crate::diagnostic::Diagnostic;
use crate::limits;
use crate::source::{Span, text_of};
use std::path::{Path, PathBuf};

impl Lexer<'_> {
    /// Continues with an included file; what follows the `include` comes after it.
    pub fn include(&mut self, path: &str, span: Span) {
        let depth = self.inputs.iter().filter(|i| i.expansion.is_none()).count();
        let open: Vec<PathBuf> = self
            .inputs
            .iter()
            .filter(|i| i.expansion.is_none())
            .filter_map(|i| self.sources.file(i.file).map(|f| f.path.clone()))
            .collect();
        let refused = if open.iter().any(|p| p == Path::new(path)) {
            let chain: Vec<_> = open.iter().map(|p| p.display().to_string()).collect();
            Err(format!("includes itself: {} -> {path}", chain.join(" -> ")))
        } else if depth >= limits::INCLUDE_DEPTH_MAX {
            Err(format!(
                "more than {} levels deep",
                limits::INCLUDE_DEPTH_MAX
            ))
        } else if self.sources.bytes() > limits::FILES_MAX {
            Err(format!(
                "more than {} MiB in all files",
                limits::FILES_MAX / (1024 * 1024)
            ))
        } else if self.sources.len() >= limits::INCLUDES_MAX {
            Err(format!("more than {} files", limits::INCLUDES_MAX))
        } else {
            self.source
                .read(Path::new(path))
                .map_err(|e| e.to_string())
                .and_then(text_of)
        };
        match refused {
            Ok(text) => {
                let file = self.sources.add(PathBuf::from(path), text.clone());
                self.inputs.push(Input {
                    file,
                    text,
                    at: 0,
                    expansion: None,
                });
            }
            Err(reason) => self.diagnostics.push(
                Diagnostic::error(span, format!("failed to include file {path}"))
                    .cure(format!("{path}: {reason}")),
            ),
        }
    }
}
