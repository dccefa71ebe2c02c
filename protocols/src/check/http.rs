//! `check http … code N`: the status of a HEAD request.
//! Owns the judgement of a status line.
//! Must never keep more than the head of an answer.

use super::Outcome;
use super::run::Progress;
use crate::host::Reason;
use conf::limits::CHECK_HEAD_MAX;

/// Length of `HTTP/1.x NNN`.
const STATUS_LENGTH: usize = 12;

/// Waits for the end of the head: hosts need not see a reset while they write it.
#[derive(Debug)]
pub(super) struct CodeJudge {
    wanted: u32,
    head: Vec<u8>,
}

impl CodeJudge {
    pub(super) fn new(wanted: u32) -> CodeJudge {
        CodeJudge {
            wanted,
            head: Vec::new(),
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) -> Progress {
        let seen = self.head.len();
        let room = CHECK_HEAD_MAX.saturating_sub(seen);
        self.head
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        if self.head.len() == CHECK_HEAD_MAX || head_end(&self.head, seen).is_some() {
            return Progress::Done(self.verdict());
        }
        Progress::More
    }

    /// Whether there is something to judge although the head has no end yet.
    pub(super) fn answered(&self) -> bool {
        self.head.len() >= STATUS_LENGTH
    }

    pub(super) fn verdict(&self) -> Outcome {
        let Some(code) = status(&self.head) else {
            return Outcome::down(Reason::HttpCodeMalformed);
        };
        let mut outcome = if u32::from(code) == self.wanted {
            Outcome::up(Reason::HttpCodeOk)
        } else {
            Outcome::down(Reason::HttpCodeMismatch)
        };
        outcome.http_code = code;
        outcome
    }
}

/// Where the body begins: behind the first empty line. The first `seen` bytes were searched before.
pub(super) fn head_end(head: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    memchr::memmem::find(head.get(from..)?, b"\r\n\r\n").map(|at| from + at + 4)
}

/// The status, 100 to 999.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let digits = rest.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) || rest.get(3).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let code = digits
        .iter()
        .fold(0u16, |code, digit| code * 10 + u16::from(digit - b'0'));
    (code >= 100).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(parts: &[&str]) -> (Progress, Outcome) {
        let mut judge = CodeJudge::new(200);
        let mut progress = Progress::More;
        for part in parts {
            progress = judge.received(part.as_bytes());
        }
        (progress, judge.verdict())
    }

    #[test]
    fn head_is_judged_as_soon_as_it_ends() {
        let (progress, outcome) = judge(&["HTTP/1.0 200 OK\r\nA: b\r", "\n\r", "\n"]);
        assert_eq!(progress, Progress::Done(outcome));
        assert_eq!(
            (outcome.reason, outcome.http_code),
            (Reason::HttpCodeOk, 200)
        );
    }

    #[test]
    fn other_status_is_a_mismatch_and_is_reported() {
        let (_, outcome) = judge(&["HTTP/1.1 503 No\r\n\r\n"]);
        assert_eq!(
            outcome,
            Outcome {
                http_code: 503,
                ..Outcome::down(Reason::HttpCodeMismatch)
            }
        );
    }

    #[test]
    fn garbage_is_malformed() {
        for text in [
            "",
            "HTTP/1.1 20",
            "HTTP/2.0 200 OK",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 099 x",
            "HTTP/1.1 2000 x",
            "HTTP/1.1 2x0 ",
        ] {
            let (_, outcome) = judge(&[text]);
            assert_eq!(outcome.reason, Reason::HttpCodeMalformed, "{text}");
        }
    }

    #[test]
    fn endless_head_is_bounded() {
        let mut judge = CodeJudge::new(200);
        assert_eq!(judge.received(b"HTTP/1.1 200 OK\r\n"), Progress::More);
        let line = [b'x'; 4096];
        assert_eq!(judge.received(&line), Progress::More);
        assert!(
            matches!(judge.received(&line), Progress::Done(outcome) if outcome.reason == Reason::HttpCodeOk)
        );
        assert_eq!(judge.head.len(), CHECK_HEAD_MAX);
    }
}
