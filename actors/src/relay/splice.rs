//! Bulk transfers without copying: splice(2) through pipes that sessions borrow.
//! Owns the pool of pipes and the two halves of a splice.
//! Must never leave bytes of one session in a pipe that another one gets.

use super::counters::Count;
use conf::limits;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Pipes of a process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    shared: Rc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    free: RefCell<Vec<(OwnedFd, OwnedFd)>>,
    /// Pipes that exist, free or borrowed.
    count: Cell<usize>,
    /// Times none was left.
    exhausted: Count,
}

impl Pool {
    /// Times that a transfer had to do without a pipe.
    pub fn exhausted(&self) -> u64 {
        self.shared.exhausted.get()
    }

    /// A pipe, if the system and [`limits::PIPES_MAX`] allow one.
    pub fn take(&self) -> Option<Pipe> {
        let free = self.shared.free.borrow_mut().pop();
        let ends = match free {
            Some(ends) => ends,
            None if self.shared.count.get() >= limits::PIPES_MAX => {
                self.shared.exhausted.up();
                return None;
            }
            None => {
                let size = match self.shared.count.get() < limits::PIPES_LARGE {
                    true => limits::PIPE_SIZE_LARGE,
                    false => limits::PIPE_SIZE,
                };
                let ends = open(size).ok()?;
                self.shared.count.set(self.shared.count.get() + 1);
                ends
            }
        };
        Some(Pipe {
            ends: Some(ends),
            held: 0,
            pool: self.clone(),
        })
    }
}

/// A borrowed pipe; goes back to the pool when dropped, unless bytes are left in it.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
    pool: Pool,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let shared = &self.pool.shared;
        let mut free = shared.free.borrow_mut();
        match self.ends.take() {
            Some(ends) if self.held == 0 && free.len() < limits::PIPES_FREE => free.push(ends),
            _ => shared.count.set(shared.count.get().saturating_sub(1)),
        }
    }
}

impl Pipe {
    /// Bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what `from` has, at most `max` bytes, into the empty pipe; 0 is the end.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let Some((_, write)) = &self.ends else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let max = max.min(limits::PIPE_SIZE_LARGE);
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || splice(from, write, max)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(n) => {
                    self.held += n;
                    return Poll::Ready(Ok(n));
                }
            }
        }
    }

    /// Moves bytes out of the pipe.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<usize>> {
        let Some((read, _)) = &self.ends else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        loop {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || splice(read, to, self.held)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(n) => {
                    self.held = self.held.saturating_sub(n);
                    return Poll::Ready(Ok(n));
                }
            }
        }
    }
}

/// A pipe of `size` bytes, or as large as the user's limit allows.
#[cfg(target_os = "linux")]
fn open(size: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let ends = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
    let ask = |size| {
        fcntl(
            &ends.1,
            FcntlArg::F_SETPIPE_SZ(i32::try_from(size).unwrap_or(i32::MAX)),
        )
    };
    if ask(size).is_err() && ask(limits::PIPE_SIZE).is_err() {
        // Beyond the limit pipes are so small that copying is cheaper.
        let given = fcntl(&ends.1, FcntlArg::F_GETPIPE_SZ)?;
        if usize::try_from(given).unwrap_or(0) < limits::SPLICE_WORTH {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
    }
    Ok(ends)
}

#[cfg(target_os = "linux")]
fn splice(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    max: usize,
) -> io::Result<usize> {
    use nix::fcntl::SpliceFFlags;
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(nix::fcntl::splice(from, None, to, None, max, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn open(_: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn splice<A, B>(_: A, _: B, _: usize) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
