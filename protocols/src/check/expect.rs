//! `check send … expect "GLOB"` and `check binary send … expect "HEX"`.
//! Owns the answer so far.
//! Must never match more often than [`limits`] allow: the host decides how it cuts its answer.

use super::Outcome;
use super::run::Progress;
use crate::glob::{Flags, matches};
use crate::host::Reason;
use conf::limits::{CHECK_EXPECT_EAGER_READS, CHECK_EXPECT_MAX};

#[cfg(doc)]
use conf::limits;

/// Matches everything received so far after each read.
#[derive(Debug)]
pub(super) struct GlobJudge<'a> {
    pattern: &'a [u8],
    answer: Vec<u8>,
    reads: u32,
    tried: usize,
}

impl<'a> GlobJudge<'a> {
    pub(super) fn new(pattern: &'a [u8]) -> GlobJudge<'a> {
        GlobJudge {
            pattern,
            answer: Vec::new(),
            reads: 0,
            tried: 0,
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) -> Progress {
        let room = CHECK_EXPECT_MAX.saturating_sub(self.answer.len());
        self.answer
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        self.reads = self.reads.saturating_add(1);
        let full = self.answer.len() == CHECK_EXPECT_MAX;
        let grown = self.answer.len() - self.tried >= self.tried / 8;
        if full || grown || self.reads <= CHECK_EXPECT_EAGER_READS {
            self.tried = self.answer.len();
            if full || self.matched() {
                return Progress::Done(self.verdict());
            }
        }
        Progress::More
    }

    /// The pattern is matched against text: a NUL byte ends it, as in the original.
    pub(super) fn matched(&self) -> bool {
        let end = memchr::memchr(0, &self.answer).unwrap_or(self.answer.len());
        let text = self.answer.get(..end).unwrap_or_default();
        !self.answer.is_empty() && matches(self.pattern, text, Flags::NONE)
    }

    pub(super) fn verdict(&self) -> Outcome {
        if self.matched() {
            Outcome::up(Reason::SendExpectOk)
        } else {
            Outcome::down(Reason::SendExpectFailed)
        }
    }
}

/// Compares the first bytes.
#[derive(Debug)]
pub(super) struct PrefixJudge<'a> {
    rest: &'a [u8],
}

impl<'a> PrefixJudge<'a> {
    pub(super) fn new(wanted: &'a [u8]) -> PrefixJudge<'a> {
        PrefixJudge { rest: wanted }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) -> Progress {
        let length = self.rest.len().min(bytes.len());
        let (now, later) = self.rest.split_at(length);
        if bytes.get(..length) != Some(now) {
            return Progress::Done(Outcome::down(Reason::SendExpectFailed));
        }
        self.rest = later;
        if later.is_empty() {
            return Progress::Done(Outcome::up(Reason::SendExpectOk));
        }
        Progress::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_sees_everything_so_far() {
        let mut judge = GlobJudge::new(b"220 *ESMTP*");
        assert_eq!(judge.received(b"220 mail."), Progress::More);
        assert_eq!(
            judge.received(b"example ESMTP\r\n"),
            Progress::Done(Outcome::up(Reason::SendExpectOk))
        );
    }

    #[test]
    fn glob_ends_at_a_nul_and_at_its_limit() {
        let mut judge = GlobJudge::new(b"ok");
        assert_eq!(
            judge.received(b"ok\0garbage"),
            Progress::Done(Outcome::up(Reason::SendExpectOk))
        );
        let mut judge = GlobJudge::new(b"*never");
        let mut last = Progress::More;
        for _ in 0..5 {
            last = judge.received(&[b'x'; 4096]);
        }
        assert_eq!(
            last,
            Progress::Done(Outcome::down(Reason::SendExpectFailed))
        );
    }

    #[test]
    fn dribbled_answer_is_matched_rarely_but_in_the_end() {
        let mut judge = GlobJudge::new(b"*end");
        for _ in 0..5000 {
            assert_eq!(judge.received(b"x"), Progress::More);
        }
        let _ = judge.received(b"end");
        assert_eq!(judge.verdict(), Outcome::up(Reason::SendExpectOk));
    }

    #[test]
    fn prefix_is_compared_as_it_comes() {
        let mut judge = PrefixJudge::new(&[0, 1, 2, 3]);
        assert_eq!(judge.received(&[0, 1]), Progress::More);
        assert_eq!(
            judge.received(&[2, 3, 9]),
            Progress::Done(Outcome::up(Reason::SendExpectOk))
        );
        let mut judge = PrefixJudge::new(&[0, 1]);
        assert_eq!(
            judge.received(&[1]),
            Progress::Done(Outcome::down(Reason::SendExpectFailed))
        );
    }
}
