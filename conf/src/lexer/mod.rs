//! Tokens of relayd.conf, exactly as the original cuts them.
//! Owns quoting, continuation lines, comments, numbers, words, macros and includes.
//! Must never know a statement: that is the grammar.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::limits;
use crate::source::{Source, Sources, Span, reason_of, text_of};
use std::collections::HashMap;
use std::path::Path;

mod include;
mod word;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A reserved word, unquoted.
    Keyword(&'static str),
    /// Any other word, or a quoted string.
    Word(String),
    /// A number.
    Number(i64),
    /// One of `{ } ( ) < > ! = , /` or any other single character.
    Symbol(char),
    /// End of a line.
    Newline,
    /// End of the main file.
    End,
    /// Something that is no token; the message was given.
    Bad,
}

/// A token and where it stands. A token out of a macro has the place of the `$name`.
#[derive(Clone, Debug)]
pub struct Lexeme {
    /// The token.
    pub token: Token,
    /// Its place.
    pub span: Span,
    /// It was quoted.
    pub quoted: bool,
}

/// A macro definition.
#[derive(Clone, Debug)]
struct Macro {
    value: String,
    /// From the command line: the file cannot change it.
    fixed: bool,
    used: bool,
    span: Span,
}

/// A piece of input: a file, or the value of a macro.
struct Input {
    file: u32,
    text: String,
    at: usize,
    /// Place of the `$name` this text came from.
    expansion: Option<Span>,
}

/// Cuts the text of all files into tokens.
pub struct Lexer<'a> {
    source: &'a dyn Source,
    /// Files read so far.
    pub sources: Sources,
    inputs: Vec<Input>,
    macros: HashMap<String, Macro>,
    /// Messages so far.
    pub diagnostics: Diagnostics,
}

/// Characters that end a word.
fn word_char(c: char) -> bool {
    (c.is_ascii_alphanumeric() || c.is_ascii_punctuation() || !c.is_ascii())
        && !matches!(
            c,
            '(' | ')' | '{' | '}' | '<' | '>' | '!' | '=' | '#' | ',' | '/'
        )
}

fn word_start(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':' || c == '_' || !c.is_ascii()
}

impl<'a> Lexer<'a> {
    /// Opens the main file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(
        path: &Path,
        macros: &[(String, String)],
        source: &'a dyn Source,
    ) -> Result<Self, Diagnostic> {
        let text = source
            .read(path)
            .map_err(|e| reason_of(&e))
            .and_then(text_of)
            .map_err(|reason| {
                Diagnostic::unplaced(format!("pushfile: {}: {reason}", path.display()))
                    .cure("name a readable file with -f")
            })?;
        let mut sources = Sources::default();
        let file = sources.add(path.to_path_buf(), text.clone());
        Ok(Lexer {
            source,
            sources,
            inputs: vec![Input {
                file,
                text,
                at: 0,
                expansion: None,
            }],
            macros: macros
                .iter()
                .map(|(name, value)| {
                    (
                        name.clone(),
                        Macro {
                            value: value.clone(),
                            fixed: true,
                            used: true,
                            span: Span::default(),
                        },
                    )
                })
                .collect(),
            diagnostics: Diagnostics::default(),
        })
    }

    /// Defines a macro (`name=value`); a later definition replaces an earlier one.
    pub fn define(&mut self, name: String, value: String, span: Span) {
        match self.macros.get(&name) {
            Some(m) if m.fixed => {}
            _ => {
                self.macros.insert(
                    name,
                    Macro {
                        value,
                        fixed: false,
                        used: false,
                        span,
                    },
                );
            }
        }
    }

    /// Macros that were never used, with the place of their definition.
    pub fn unused_macros(&self) -> Vec<(String, Span)> {
        let mut unused: Vec<_> = self
            .macros
            .iter()
            .filter(|(_, m)| !m.used)
            .map(|(n, m)| (n.clone(), m.span))
            .collect();
        unused.sort_by_key(|(_, s)| (s.file, s.start));
        unused
    }

    fn peek(&self) -> Option<char> {
        let input = self.inputs.last()?;
        input.text.get(input.at..)?.chars().next()
    }

    fn peek_after(&self, c: char) -> Option<char> {
        let input = self.inputs.last()?;
        input.text.get(input.at + c.len_utf8()..)?.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let input = self.inputs.last_mut()?;
        let c = input.text.get(input.at..)?.chars().next()?;
        input.at += c.len_utf8();
        Some(c)
    }

    fn here(&self) -> (u32, u32) {
        self.inputs.last().map_or((0, 0), |i| {
            (i.file, u32::try_from(i.at).unwrap_or(u32::MAX))
        })
    }

    fn span_from(&self, start: (u32, u32)) -> Span {
        match self.inputs.last() {
            Some(Input {
                expansion: Some(span),
                ..
            }) => *span,
            _ => Span {
                file: start.0,
                start: start.1,
                end: self.here().1,
            },
        }
    }

    /// Skips blanks, continuation lines and comments.
    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => {
                    self.bump();
                }
                Some('\\') if self.peek_after('\\') == Some('\n') => {
                    self.bump();
                    self.bump();
                }
                Some('#') => self.skip_comment(),
                // A backslash before any other character is dropped.
                Some('\\') if self.peek_after('\\').is_some() => {
                    self.bump();
                }
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) {
        while let Some(c) = self.peek() {
            if c == '\n' {
                return;
            }
            self.bump();
            if c == '\\' && self.peek() == Some('\n') {
                self.bump();
            }
        }
    }

    /// The next token.
    pub fn token(&mut self) -> Lexeme {
        loop {
            self.skip_blanks();
            let start = self.here();
            let Some(c) = self.peek() else {
                if self.inputs.len() <= 1 {
                    return self.lexeme(Token::End, start, false);
                }
                let ended = self.inputs.pop();
                // An included file ends its last line even without a newline.
                if ended.is_some_and(|i| i.expansion.is_none()) {
                    return self.lexeme(Token::Newline, start, false);
                }
                continue;
            };
            match c {
                '\n' => {
                    self.bump();
                    return self.lexeme(Token::Newline, start, false);
                }
                '$' if self.expansion_depth() == 0 => match self.expand(start) {
                    Some(bad) => return bad,
                    None => continue,
                },
                '"' | '\'' => return self.quoted(c, start),
                '-' | '0'..='9' => return self.number_or_word(start),
                c if word_start(c) => return self.word(start),
                '\0' => {
                    self.bump();
                    return self.bad(
                        start,
                        "syntax error",
                        "a NUL byte is no part of a configuration",
                    );
                }
                c => {
                    self.bump();
                    return self.lexeme(Token::Symbol(c), start, false);
                }
            }
        }
    }

    fn expansion_depth(&self) -> usize {
        usize::from(self.inputs.last().is_some_and(|i| i.expansion.is_some()))
    }

    fn lexeme(&self, token: Token, start: (u32, u32), quoted: bool) -> Lexeme {
        Lexeme {
            token,
            span: self.span_from(start),
            quoted,
        }
    }

    fn bad(&mut self, start: (u32, u32), text: &str, cure: &str) -> Lexeme {
        let span = self.span_from(start);
        self.diagnostics
            .push(Diagnostic::error(span, text.to_owned()).cure(cure));
        self.lexeme(Token::Bad, start, false)
    }

    /// `$name`: its value is read next. Answers a token only when there is none.
    fn expand(&mut self, start: (u32, u32)) -> Option<Lexeme> {
        self.bump();
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if !(c.is_ascii_alphanumeric() || c == '_') || name.len() >= limits::TOKEN_MAX {
                break;
            }
            name.push(c);
            self.bump();
        }
        let span = self.span_from(start);
        if let Some(m) = self.macros.get_mut(&name) {
            m.used = true;
            let text = m.value.clone();
            self.inputs.push(Input {
                file: start.0,
                text,
                at: 0,
                expansion: Some(span),
            });
            return None;
        }
        let mut diagnostic = Diagnostic::error(span, format!("macro '{name}' not defined"));
        let near = crate::diagnostic::closest(&name, self.macros.keys().map(String::as_str))
            .filter(|_| !self.diagnostics.full());
        diagnostic = match near {
            Some(near) => diagnostic.cure(format!("did you mean ${near}?")),
            None => diagnostic.cure(format!(
                "define it before: {name}=\"…\", or with -D {name}=…"
            )),
        };
        self.diagnostics.push(diagnostic);
        Some(self.lexeme(Token::Bad, start, false))
    }
}

impl Lexer<'_> {
    /// A macro whose name is that word, or nearly.
    pub fn macro_near(&self, word: &str) -> Option<&str> {
        match self.macros.get_key_value(word) {
            Some((name, _)) => Some(name.as_str()),
            None => crate::diagnostic::closest(word, self.macros.keys().map(String::as_str)),
        }
    }
}

impl Lexer<'_> {
    /// A file that a rule names.
    ///
    /// # Errors
    /// The system's reason.
    pub fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.source.read(path)
    }
}
