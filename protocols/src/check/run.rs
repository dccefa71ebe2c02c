//! One connection of a TCP-based check, from connect to result.
//! Owns what was sent and received so far.
//! Must never wait: whoever drives it reports bytes, ends and troubles.
//!
//! ```text
//! connect ─► (handshake) ─► connected() ─► unsent()/sent() ─► received()… ─► Done
//!    └───────────┴──────────────────────── trouble(phase, …) ──────────────► Outcome
//! ```

use super::Outcome;
use super::digest::DigestJudge;
use super::expect::{GlobJudge, PrefixJudge};
use super::http::CodeJudge;
use super::plan::{Judge, Plan};
use crate::host::Reason;

/// Whether a check goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send what is unsent, then read on.
    More,
    /// Close the connection.
    Done(Outcome),
}

/// Where a check is when trouble comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP connection.
    Connect,
    /// TLS handshake.
    Handshake,
    /// Sending.
    Write,
    /// Waiting for the answer.
    Read,
}

/// Kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The table's timeout is over.
    Timeout,
    /// A system call or the handshake failed.
    Failed,
}

/// A running check.
#[derive(Debug)]
pub struct Run<'a> {
    plan: &'a Plan,
    sent: usize,
    judge: Running<'a>,
}

#[derive(Debug)]
enum Running<'a> {
    Connected,
    Code(CodeJudge),
    Digest(DigestJudge<'a>),
    Glob(GlobJudge<'a>),
    Prefix(PrefixJudge<'a>),
}

impl<'a> Run<'a> {
    /// A check that has not connected yet.
    pub fn new(plan: &'a Plan) -> Run<'a> {
        let judge = match &plan.judge {
            Judge::Connected => Running::Connected,
            Judge::HttpCode(code) => Running::Code(CodeJudge::new(*code)),
            Judge::HttpDigest(digest) => Running::Digest(DigestJudge::new(digest)),
            Judge::Glob(pattern) => Running::Glob(GlobJudge::new(pattern)),
            Judge::Prefix(bytes) => Running::Prefix(PrefixJudge::new(bytes)),
        };
        Run {
            plan,
            sent: 0,
            judge,
        }
    }

    /// The connection stands, the TLS handshake included.
    pub fn connected(&self) -> Progress {
        match (&self.judge, self.plan.tls()) {
            (Running::Connected, false) => Progress::Done(Outcome::up(Reason::TcpConnectOk)),
            (Running::Connected, true) => Progress::Done(Outcome::up(Reason::TlsConnectOk)),
            _ => Progress::More,
        }
    }

    /// What is still to be sent.
    pub fn unsent(&self) -> &'a [u8] {
        self.plan.send.get(self.sent..).unwrap_or_default()
    }

    /// `count` bytes of [`Run::unsent`] are on their way.
    pub fn sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count);
    }

    /// Bytes arrived.
    pub fn received(&mut self, bytes: &[u8]) -> Progress {
        match &mut self.judge {
            Running::Connected => Progress::More,
            Running::Code(judge) => judge.received(bytes),
            Running::Digest(judge) => judge.received(bytes),
            Running::Glob(judge) => judge.received(bytes),
            Running::Prefix(judge) => judge.received(bytes),
        }
    }

    /// The host closed its side.
    pub fn closed(&self) -> Outcome {
        match &self.judge {
            Running::Connected => Outcome::down(Reason::TcpReadFailed),
            Running::Code(judge) => judge.verdict(),
            Running::Digest(judge) => judge.verdict(),
            Running::Glob(judge) => judge.verdict(),
            Running::Prefix(_) => Outcome::down(Reason::SendExpectFailed),
        }
    }

    /// Something went wrong. An answer that is complete although the host keeps the connection open is judged
    /// when the time is over.
    pub fn trouble(&self, phase: Phase, trouble: Trouble) -> Outcome {
        let answered = match &self.judge {
            Running::Code(judge) => judge.answered(),
            Running::Digest(judge) => judge.answered(),
            Running::Glob(judge) => judge.matched(),
            Running::Connected | Running::Prefix(_) => false,
        };
        if answered && (phase, trouble) == (Phase::Read, Trouble::Timeout) {
            return self.closed();
        }
        Outcome::down(reason(phase, trouble, self.plan.tls()))
    }
}

fn reason(phase: Phase, trouble: Trouble, tls: bool) -> Reason {
    match (phase, trouble, tls) {
        (Phase::Connect, Trouble::Timeout, _) => Reason::TcpConnectTimeout,
        (Phase::Connect, Trouble::Failed, _) => Reason::TcpConnectFailed,
        (Phase::Handshake, Trouble::Timeout, _) => Reason::TlsConnectTimeout,
        (Phase::Handshake, Trouble::Failed, _) => Reason::TlsConnectFailed,
        (Phase::Write, Trouble::Timeout, false) => Reason::TcpWriteTimeout,
        (Phase::Write, Trouble::Failed, false) => Reason::TcpWriteFailed,
        (Phase::Read, Trouble::Timeout, false) => Reason::TcpReadTimeout,
        (Phase::Read, Trouble::Failed, false) => Reason::TcpReadFailed,
        (Phase::Write, Trouble::Timeout, true) => Reason::TlsWriteTimeout,
        (Phase::Write, Trouble::Failed, true) => Reason::TlsWriteError,
        (Phase::Read, Trouble::Timeout, true) => Reason::TlsReadTimeout,
        (Phase::Read, Trouble::Failed, true) => Reason::TlsReadError,
    }
}
