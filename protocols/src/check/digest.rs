//! `check http … digest "HEX"`: the digest of a body.
//! Owns the running digest; the body is never kept.
//! Must never digest beyond the first NUL byte: the original takes the body for text.

use super::Outcome;
use super::http::head_end;
use super::run::Progress;
use crate::host::Reason;
use conf::limits::CHECK_HEAD_MAX;
use conf::model::Digest as Wanted;
use md5::{Digest, Md5};
use sha1::Sha1;

/// Digests what follows the first empty line.
#[derive(Debug)]
pub(super) struct DigestJudge<'a> {
    wanted: &'a Wanted,
    part: Part,
    sum: Sum,
}

#[derive(Debug)]
enum Part {
    Head(Vec<u8>),
    Body,
    /// Behind a NUL byte.
    Rest,
}

#[derive(Clone, Debug)]
enum Sum {
    Sha1(Sha1),
    Md5(Md5),
}

impl Sum {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Sum::Sha1(sum) => sum.update(bytes),
            Sum::Md5(sum) => sum.update(bytes),
        }
    }

    fn equals(&self, wanted: &Wanted) -> bool {
        match (self.clone(), wanted) {
            (Sum::Sha1(sum), Wanted::Sha1(wanted)) => sum.finalize().as_slice() == wanted,
            (Sum::Md5(sum), Wanted::Md5(wanted)) => sum.finalize().as_slice() == wanted,
            _ => false,
        }
    }
}

impl<'a> DigestJudge<'a> {
    pub(super) fn new(wanted: &'a Wanted) -> DigestJudge<'a> {
        let sum = match wanted {
            Wanted::Sha1(_) => Sum::Sha1(Sha1::new()),
            Wanted::Md5(_) => Sum::Md5(Md5::new()),
        };
        DigestJudge {
            wanted,
            part: Part::Head(Vec::new()),
            sum,
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) -> Progress {
        let Part::Head(head) = &mut self.part else {
            self.body(bytes);
            return Progress::More;
        };
        let seen = head.len();
        head.extend_from_slice(bytes);
        let Some(end) = head_end(head, seen) else {
            if head.len() > CHECK_HEAD_MAX {
                return Progress::Done(Outcome::down(Reason::HttpDigestMalformed));
            }
            return Progress::More;
        };
        let body = head.split_off(end.min(head.len()));
        self.part = Part::Body;
        self.body(&body);
        Progress::More
    }

    fn body(&mut self, bytes: &[u8]) {
        if !matches!(self.part, Part::Body) {
            return;
        }
        match memchr::memchr(0, bytes) {
            None => self.sum.update(bytes),
            Some(nul) => {
                self.sum.update(bytes.get(..nul).unwrap_or_default());
                self.part = Part::Rest;
            }
        }
    }

    /// Whether a body began.
    pub(super) fn answered(&self) -> bool {
        !matches!(self.part, Part::Head(_))
    }

    pub(super) fn verdict(&self) -> Outcome {
        if !self.answered() {
            return Outcome::down(Reason::HttpDigestMalformed);
        }
        if self.sum.equals(self.wanted) {
            Outcome::up(Reason::HttpDigestOk)
        } else {
            Outcome::down(Reason::HttpDigestMismatch)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn sha1(body: &[u8]) -> Wanted {
        Wanted::Sha1(Sha1::digest(body).into())
    }

    fn run(wanted: &Wanted, parts: &[&[u8]]) -> Reason {
        let mut judge = DigestJudge::new(wanted);
        for part in parts {
            if let Progress::Done(outcome) = judge.received(part) {
                return outcome.reason;
            }
        }
        judge.verdict().reason
    }

    #[test]
    fn body_up_to_the_first_nul_is_digested() {
        let head: &[u8] = b"HTTP/1.0 200 OK\r\n\r\n";
        assert_eq!(
            run(&sha1(b"hello"), &[head, b"hel", b"lo\0more", b"more"]),
            Reason::HttpDigestOk
        );
        assert_eq!(
            run(&sha1(b"hello"), &[head, b"hellO"]),
            Reason::HttpDigestMismatch
        );
        assert_eq!(
            run(&sha1(b""), &[b"HTTP/1.0 200 OK\r\n"]),
            Reason::HttpDigestMalformed
        );
        // The md5 of nothing, from RFC 1321.
        let empty = Wanted::Md5([
            0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8,
            0x42, 0x7e,
        ]);
        assert_eq!(run(&empty, &[head]), Reason::HttpDigestOk);
    }

    #[test]
    fn endless_head_is_malformed() {
        let line = [b'x'; 5000];
        assert_eq!(
            run(&sha1(b""), &[&line, &line]),
            Reason::HttpDigestMalformed
        );
    }

    proptest! {
        #[test]
        fn cuts_between_reads_do_not_matter(body in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..220, second in 0usize..220) {
            let text = [b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n".as_slice(), &body].concat();
            let (one, two) = (cut.min(second).min(text.len()), cut.max(second).min(text.len()));
            let wanted = sha1(body.split(|byte| *byte == 0).next().unwrap());
            prop_assert_eq!(run(&wanted, &[&text[..one], &text[one..two], &text[two..]]), Reason::HttpDigestOk);
        }
    }
}
