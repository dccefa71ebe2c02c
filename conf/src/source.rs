//! Where configuration text comes from, and how a place in it is named.
//! Owns the files that were read and the spans that point into them.
//! Must never open a file itself: that is the caller's [`Source`].

use crate::limits;
use std::io;
use std::path::{Path, PathBuf};

/// Reads configuration files; implemented outside so that this crate stays pure.
pub trait Source {
    /// The bytes of a file, at most [`limits::FILE_MAX`].
    ///
    /// # Errors
    /// The system's reason.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Path as written.
    pub path: PathBuf,
    /// Its text; invalid UTF-8 replaced.
    pub text: String,
    line_starts: Vec<usize>,
}

/// All files of one load, the main file first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

/// A range of bytes in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the file.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Span {
    /// From the start of `self` to the end of `other`, if both are in one file.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file || other.end < self.start {
            return self;
        }
        Span {
            end: other.end,
            ..self
        }
    }
}

impl Sources {
    /// Adds a file and answers its index.
    pub fn add(&mut self, path: PathBuf, text: String) -> u32 {
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(i, _)| i + 1));
        self.files.push(SourceFile {
            path,
            text,
            line_starts,
        });
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// The file `index`.
    pub fn file(&self, index: u32) -> Option<&SourceFile> {
        self.files.get(index as usize)
    }

    /// Number of files read so far.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.text.len() as u64).sum()
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Line of the first byte of a span, from 1.
    pub fn line(&self, span: Span) -> u32 {
        self.file(span.file).map_or(0, |f| f.line(span.start))
    }

    /// Path and line, as messages begin.
    pub fn place(&self, span: Span) -> Option<(&Path, u32)> {
        self.file(span.file)
            .map(|f| (f.path.as_path(), f.line(span.start)))
    }
}

impl SourceFile {
    /// Line of a byte, from 1.
    pub fn line(&self, byte: u32) -> u32 {
        let n = self.line_starts.partition_point(|&s| s <= byte as usize);
        u32::try_from(n).unwrap_or(u32::MAX)
    }

    /// Text of a line (from 1) and its first byte.
    pub fn line_text(&self, line: u32) -> (&str, usize) {
        let start = line
            .checked_sub(1)
            .and_then(|l| self.line_starts.get(l as usize))
            .copied()
            .unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or("");
        (rest.split('\n').next().unwrap_or(""), start)
    }
}

/// The system's reason without its number.
pub(crate) fn reason_of(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// Text of a file's bytes, refusing what cannot be a configuration.
pub(crate) fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > limits::FILE_MAX {
        return Err(format!(
            "larger than {} MiB",
            limits::FILE_MAX / (1024 * 1024)
        ));
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    })
}
