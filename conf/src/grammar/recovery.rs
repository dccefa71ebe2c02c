//! Faults, and how reading goes on behind them: at the end of the line, before the end of the block.
//! Owns reporting, blocks, names and their uniqueness.
//! Must never skip more than the statement that is at fault.

use super::{Parsed, Parser, Skip};
use crate::diagnostic::{Diagnostic, closest};
use crate::keywords;
use crate::lexer::{Lexeme, Token};
use crate::source::Span;

impl Parser<'_> {
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.lexer.diagnostics.push(diagnostic);
    }

    pub(crate) fn fail<T>(&mut self, diagnostic: Diagnostic) -> Parsed<T> {
        self.report(diagnostic);
        Err(Skip)
    }

    pub(crate) fn error<T>(&mut self, span: Span, text: &str, cure: &str) -> Parsed<T> {
        self.fail(Diagnostic::error(span, text).cure(cure))
    }

    /// `syntax error` at a token that does not belong here.
    pub(crate) fn unexpected<T>(&mut self, lexeme: &Lexeme, wanted: &str) -> Parsed<T> {
        // A token the lexer refused: its own message comes first, and the original adds this one.
        let found = match &lexeme.token {
            Token::Keyword(k) => format!("'{k}'"),
            Token::Word(w) => format!("\"{}\"", w.chars().take(40).collect::<String>()),
            Token::Number(n) => n.to_string(),
            Token::Symbol(c) => format!("'{c}'"),
            Token::Newline => "the end of the line".to_owned(),
            Token::End => "the end of the file".to_owned(),
            Token::Bad => return Err(Skip),
        };
        self.unread(lexeme);
        let near = match &lexeme.token {
            Token::Word(w) if !lexeme.quoted => closest(w, keywords::KEYWORDS.iter().copied()),
            _ => None,
        };
        let near = near.map_or(String::new(), |n| format!("; did you mean '{n}'?"));
        self.error(
            lexeme.span,
            "syntax error",
            &format!("expected {wanted}, found {found}{near}"),
        )
    }

    /// A newline or brace that ended a statement too early still ends it.
    pub(super) fn unread(&mut self, lexeme: &Lexeme) {
        if !self.ahead
            && matches!(
                lexeme.token,
                Token::Newline | Token::Symbol('{' | '}') | Token::End
            )
        {
            self.current = lexeme.clone();
            self.ahead = true;
        }
    }

    /// Skips to the end of the statement; a block opened on the way is skipped whole.
    pub(crate) fn skip_line(&mut self) {
        self.skip(false);
    }

    /// The same inside a block: stops before the brace that closes it.
    pub(super) fn skip_in_block(&mut self) {
        self.skip(true);
    }

    fn skip(&mut self, in_block: bool) {
        let mut depth = 0usize;
        loop {
            match self.peek().token {
                Token::End => return,
                Token::Newline if depth == 0 => {
                    self.next();
                    return;
                }
                Token::Symbol('{') => depth += 1,
                Token::Symbol('}') if depth == 0 && in_block => return,
                Token::Symbol('}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.next();
        }
    }

    /// `{ … }` with one statement a line; faulty lines are reported and skipped.
    /// Answers whether all lines were good.
    pub(crate) fn block(&mut self, mut line: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<bool> {
        let open = self.peek().span;
        if !self.accept_symbol('{') {
            let lexeme = self.next();
            return self.unexpected(&lexeme, "'{' on the same line");
        }
        let mut good = true;
        loop {
            self.skip_newlines();
            match self.peek().token {
                Token::Symbol('}') => {
                    self.close = self.next().span;
                    break;
                }
                Token::End => {
                    return self.error(open, "syntax error", "this block is never closed with '}'");
                }
                Token::Keyword("include") => {
                    self.next();
                    if self.include().is_err() {
                        self.skip_in_block();
                    }
                }
                _ => {
                    if line(self).is_err() {
                        good = false;
                        self.skip_in_block();
                    }
                }
            }
        }
        self.end_of_line()?;
        Ok(good)
    }

    /// A name below a length; `message` is what the original says otherwise.
    pub(crate) fn name(&mut self, what: &str, max: usize, message: &str) -> Parsed<(String, Span)> {
        let span = self.peek().span;
        let name = self.string(what)?;
        if name.len() > max {
            return self.error(
                span,
                &message.replace("%s", &name),
                &format!("at most {max} characters"),
            );
        }
        Ok((name, span))
    }

    /// Refuses a second object of a kind with the same name.
    pub(crate) fn unique(
        &mut self,
        kind: &'static str,
        name: &str,
        span: Span,
        message: &str,
    ) -> Parsed<()> {
        self.unique_at(kind, name, span, span, message)
    }

    /// The same, reported at another place than the name.
    pub(crate) fn unique_at(
        &mut self,
        kind: &'static str,
        name: &str,
        span: Span,
        report: Span,
        message: &str,
    ) -> Parsed<()> {
        if let Some(first) = self.names.get(&(kind, name.to_owned())) {
            let cure = match self.lexer.sources.place(*first) {
                Some((path, line)) => format!(
                    "the first one is at {}:{line}; rename one of them",
                    path.display()
                ),
                None => "rename one of them".to_owned(),
            };
            return self.error(report, message, &cure);
        }
        self.names.insert((kind, name.to_owned()), span);
        Ok(())
    }
}
