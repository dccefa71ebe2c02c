//! Messages about a configuration: what the original prints, then the place and the cure.
//! Owns severity, text, place and rendering.
//! Must never print; callers decide where the text goes.

use crate::limits;
use crate::source::{Sources, Span};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::fmt::Write as _;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration works.
    Warning,
    /// The configuration is refused.
    Error,
}

/// Where a message points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path as written.
    pub file: String,
    /// First line, from 1.
    pub line: u32,
    /// First character, from 1.
    pub column: u32,
    /// Last line.
    pub end_line: u32,
    /// Character after the last, from 1.
    pub end_column: u32,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// The original's words where it has any.
    pub text: String,
    /// Where.
    pub span: Option<Span>,
    /// What to do about it.
    pub cure: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(span: Span, text: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            text: text.into(),
            span: Some(span),
            cure: None,
        }
    }

    /// A warning at a place.
    pub fn warning(span: Span, text: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(span, text)
        }
    }

    /// An error about the configuration as a whole.
    pub fn unplaced(text: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            text: text.into(),
            span: None,
            cure: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// The first line: `FILE:LINE: text`, as the original.
    pub fn line(&self, sources: &Sources) -> String {
        match self.span.and_then(|s| sources.place(s)) {
            Some((path, line)) => format!("{}:{line}: {}", path.display(), self.text),
            None => self.text.clone(),
        }
    }

    /// File, line and columns, for editors.
    pub fn place(&self, sources: &Sources) -> Option<Place> {
        let span = self.span?;
        let file = sources.file(span.file)?;
        let column = |line: u32, byte: u32| {
            let (text, first) = file.line_text(line);
            let before = (byte as usize).saturating_sub(first);
            let chars = text.char_indices().take_while(|(i, _)| *i < before).count();
            u32::try_from(chars + 1).unwrap_or(u32::MAX)
        };
        let line = file.line(span.start);
        let end_line = file.line(span.end.max(span.start + 1) - 1);
        Some(Place {
            file: file.path.display().to_string(),
            line,
            column: column(line, span.start),
            end_line,
            end_column: column(end_line, span.end),
        })
    }

    /// First line, excerpt with the place marked, cure.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let mut out = self.line(sources);
        if let Some(span) = self.span
            && let Some(file) = sources.file(span.file)
        {
            let line = file.line(span.start);
            let (text, first) = file.line_text(line);
            // A line of kilobytes explains nothing.
            if text.len() <= 512 && !text.trim().is_empty() {
                let from = (span.start as usize).saturating_sub(first).min(text.len());
                let to = (span.end as usize)
                    .saturating_sub(first)
                    .clamp(from, text.len());
                let renderer = if color {
                    Renderer::styled()
                } else {
                    Renderer::plain()
                };
                let mut mark = AnnotationKind::Primary.span(from..to);
                if let Some(cure) = &self.cure {
                    mark = mark.label(cure.as_str());
                }
                let group = Level::ERROR.no_name().primary_title("").element(
                    Snippet::source(text)
                        .line_start(line as usize)
                        .annotation(mark),
                );
                let excerpt = renderer.render(&[group]).to_string();
                for line in excerpt.lines().skip(1) {
                    let _ = write!(out, "\n{line}");
                }
                return out;
            }
        }
        if let Some(cure) = &self.cure {
            let _ = write!(out, "\n  = {cure}");
        }
        out
    }
}

/// The messages of one run, in the order they were found.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// Messages beyond those kept.
    pub dropped: usize,
}

impl Diagnostics {
    /// Adds a message; beyond [`limits::DIAGNOSTICS_SHOWN`] errors, and as many warnings, they are only counted.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count > limits::DIAGNOSTICS_SHOWN {
            self.dropped += 1;
        } else {
            self.list.push(diagnostic);
        }
    }

    /// Errors found, shown or not.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether further errors are only counted, so that no cure need be looked for.
    pub(crate) fn full(&self) -> bool {
        self.errors >= limits::DIAGNOSTICS_SHOWN
    }

    /// Whether the configuration is refused.
    pub fn failed(&self) -> bool {
        self.errors > 0
    }

    /// The messages kept.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }
}

/// The candidate nearest to `word`, if it is near enough to be a slip.
pub fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.len() / 3).max(1);
    candidates
        .filter(|c| c.len().abs_diff(word.len()) <= limit && *c != word)
        .map(|c| (distance(word, c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edits (insert, delete, replace, swap of neighbours) between two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut next = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let get = |r: &[usize], k: usize| r.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut best = (get(&row, j) + usize::from(ca != *cb))
                .min(get(&row, j + 1) + 1)
                .min(get(&next, j) + 1);
            if j > 0 && last == Some(*cb) && b.get(j - 1) == Some(&ca) {
                best = best.min(get(&before, j - 1) + 1);
            }
            next.push(best);
        }
        last = Some(ca);
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(closest("pors", ["port", "pass"].into_iter()), Some("port"));
        assert_eq!(
            closest("relya", ["relay", "table"].into_iter()),
            Some("relay")
        );
        assert_eq!(closest("xyz", ["relay", "table"].into_iter()), None);
    }
}
