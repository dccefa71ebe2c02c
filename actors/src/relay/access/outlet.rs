//! One target of access logs in a relay process: a bounded buffer of lines before a descriptor that never blocks.
//! Owns the lines that wait, and what is said when some are lost.
//! Must never wait, and never write part of a line without writing its rest before anything else.

use super::Shared;
use backends::sys::log_target;
use conf::limits;
use conf::model::{AccessForm, AccessTarget};
use protocols::log::access::Line;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::time::Instant;

/// `LOG_DAEMON` and `LOG_INFO`.
const SYSLOG_PRIORITY: u8 = (3 << 3) | 6;

/// What is left after writing, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nothing waits.
    Nothing,
    /// The target takes no more for now.
    Blocked,
    /// The target is away: it must be opened again.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub struct Outlet {
    target: AccessTarget,
    shared: Rc<Shared>,
    queue: RefCell<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    sink: Option<Sink>,
    bytes: Vec<u8>,
    /// Bytes at the beginning of `bytes` that were written.
    start: usize,
    /// Lengths of the lines that wait; of the first, what is left of it.
    lengths: VecDeque<usize>,
    /// A part of the first line was written.
    torn: bool,
    /// The first line is no line, but ends one whose rest was lost.
    ending: bool,
    blocked: bool,
    /// Lines lost since all was well.
    lost: u64,
    /// When the target was asked for, while it is away.
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Sink {
    file: File,
    datagrams: bool,
    /// Most bytes of one write that are not mixed with those of other processes.
    atomic: Option<usize>,
}

impl Outlet {
    pub(super) fn new(target: AccessTarget, shared: Rc<Shared>) -> Self {
        Outlet {
            target,
            shared,
            queue: RefCell::default(),
        }
    }

    pub(super) fn install(&self, descriptor: OwnedFd) {
        let mut queue = self.queue.borrow_mut();
        if queue.forget_torn() {
            self.lose(&mut queue, 1, "the target was opened again within one");
        }
        queue.sink = Some(Sink {
            datagrams: !matches!(self.target, AccessTarget::File(_)),
            atomic: log_target::atomic(&descriptor),
            file: File::from(descriptor),
        });
        queue.blocked = false;
        queue.asked = None;
        drop(queue);
        self.flush();
    }

    /// Takes a line; it is written soon, or lost and counted.
    pub fn line(&self, form: AccessForm, line: &Line<'_>) {
        let mut queue = self.queue.borrow_mut();
        if queue.waiting() + limits::ACCESS_LINE_MAX > limits::ACCESS_BUFFER_MAX {
            self.lose(&mut queue, 1, "the target is too slow");
            return;
        }
        let begin = queue.bytes.len();
        match self.target {
            AccessTarget::File(_) => {
                line.write(form, &mut queue.bytes);
                queue.bytes.push(b'\n');
            }
            AccessTarget::Syslog => {
                let pid = std::process::id();
                // Writing to memory cannot fail.
                let _ = write!(queue.bytes, "<{SYSLOG_PRIORITY}>relayd[{pid}]: ");
                line.write(form, &mut queue.bytes);
            }
            AccessTarget::Journald => line.write_journal(form, &mut queue.bytes),
        }
        let length = queue.bytes.len().saturating_sub(begin);
        queue.lengths.push_back(length);
        // The first line wakes the writer, also when the end of a torn one is waiting before it.
        if queue.lengths.len() <= 2 {
            self.shared.wake.notify_one();
        }
        if queue.waiting() >= limits::ACCESS_BATCH && !queue.blocked {
            self.write(&mut queue);
        }
    }

    /// Writes what waits, as far as the target takes it.
    pub(super) fn flush(&self) -> Left {
        self.write(&mut self.queue.borrow_mut())
    }

    /// Whether lines wait for a target that is away and was not asked for within the interval; then it is asked for now.
    pub(super) fn ask(&self, now: Instant) -> bool {
        let mut queue = self.queue.borrow_mut();
        let recently = queue
            .asked
            .is_some_and(|at| now.saturating_duration_since(at) < limits::ACCESS_REOPEN_INTERVAL);
        let ask = queue.sink.is_none() && queue.waiting() > 0 && !recently;
        if ask {
            queue.asked = Some(now);
        }
        ask
    }

    fn write(&self, queue: &mut Queue) -> Left {
        let left = loop {
            let Some(portion) = queue.portion() else {
                break Left::Nothing;
            };
            let end = queue.start.saturating_add(portion);
            let Some(sink) = &mut queue.sink else {
                break Left::Gone;
            };
            let bytes = queue.bytes.get(queue.start..end).unwrap_or_default();
            match sink.file.write(bytes) {
                // A regular file that takes nothing is full.
                Ok(0) => {
                    self.lose_all(queue, "no space");
                    break Left::Nothing;
                }
                Ok(count) => {
                    let lines = queue.taken(count);
                    self.shared.written.add(lines);
                    self.recovered(queue);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => break Left::Blocked,
                    _ if !sink.datagrams => {
                        self.lose_all(queue, &error.to_string());
                        break Left::Nothing;
                    }
                    _ if too_long(&error) => {
                        queue.taken(portion);
                        self.lose(queue, 1, "longer than the target takes");
                    }
                    _ => {
                        queue.sink = None;
                        break Left::Gone;
                    }
                },
            }
        };
        queue.blocked = left != Left::Nothing;
        queue.compact();
        left
    }

    fn lose_all(&self, queue: &mut Queue, why: &str) {
        let waiting = queue.lengths.len() as u64;
        let lines = waiting.saturating_sub(u64::from(queue.ending));
        queue.start = queue.bytes.len();
        queue.lengths.clear();
        self.lose(queue, lines, why);
        // An end that was not written is still owed.
        queue.ending |= queue.torn;
        queue.torn = false;
        if queue.ending {
            queue.bytes.push(b'\n');
            queue.lengths.push_back(1);
        }
    }

    fn lose(&self, queue: &mut Queue, lines: u64, why: &str) {
        if lines > 0 && queue.lost == 0 {
            tracing::warn!("access log {}: lines are lost: {why}", self.target);
        }
        queue.lost = queue.lost.saturating_add(lines);
        self.shared.lost.add(lines);
    }

    fn recovered(&self, queue: &mut Queue) {
        if queue.lost > 0 && queue.waiting() < limits::ACCESS_BATCH {
            tracing::info!("access log {}: {} lines were lost", self.target, queue.lost);
            queue.lost = 0;
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // The last chance of what waits.
        self.flush();
    }
}

impl Queue {
    fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// Bytes of the next write; `None` = nothing waits.
    fn portion(&self) -> Option<usize> {
        let first = *self.lengths.front()?;
        let limit = match &self.sink {
            Some(sink) if sink.datagrams => return Some(first),
            Some(sink) => sink.atomic.unwrap_or(limits::ACCESS_BATCH),
            None => return Some(first),
        };
        let mut portion = 0;
        for length in &self.lengths {
            if portion > 0 && portion + length > limit {
                break;
            }
            portion += length;
        }
        Some(portion)
    }

    /// Forgets bytes that were written; answers how many lines ended with them.
    fn taken(&mut self, count: usize) -> u64 {
        self.start = self.start.saturating_add(count);
        let mut left = count;
        let mut lines = 0;
        while let Some(first) = self.lengths.front_mut() {
            if *first > left {
                *first -= left;
                self.torn |= left > 0;
                return lines;
            }
            left -= *first;
            lines += u64::from(!std::mem::take(&mut self.ending));
            self.lengths.pop_front();
            self.torn = false;
        }
        lines
    }

    /// The rest of a line whose beginning went elsewhere is of no use to a new target; answers whether a line was lost.
    fn forget_torn(&mut self) -> bool {
        let torn = std::mem::take(&mut self.torn);
        if !torn && !self.ending {
            return false;
        }
        if let Some(rest) = self.lengths.pop_front() {
            self.start = self.start.saturating_add(rest);
        }
        !std::mem::take(&mut self.ending)
    }

    fn compact(&mut self) {
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            // Memory of a burst is given back.
            self.bytes.shrink_to(limits::ACCESS_BATCH);
            self.start = 0;
        } else if self.start > limits::ACCESS_BATCH {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

/// Whether a datagram was refused for its length alone.
fn too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EMSGSIZE)
}

#[cfg(test)]
mod tests;
