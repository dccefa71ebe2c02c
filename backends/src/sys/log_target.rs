//! What access logs are written to: files, named pipes, datagram sockets of other programs.
//! Owns how they are opened by the parent, so that processes without rights can write to them without waiting.
//! Must never wait for a reader, nor replace what is there.

use nix::libc;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Opens a file or a named pipe for appending; a new file gets mode 0640.
///
/// # Errors
/// Those of open(2).
pub fn append(path: &Path) -> io::Result<OwnedFd> {
    let open = |read: bool| -> io::Result<File> {
        OpenOptions::new()
            .read(read)
            .append(true)
            .create(!read)
            .mode(0o640)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
    };
    match open(false) {
        // A named pipe that nobody reads yet: with a reading end of our own it can be opened all the same.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(open(true)?.into()),
        other => Ok(other?.into()),
    }
}

/// A socket connected to the one at `path`, as syslogd and journald have them.
///
/// # Errors
/// Nobody listens there.
pub fn datagrams(path: &Path) -> io::Result<OwnedFd> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether `path` is still the file that was opened; after a rotation it is not.
pub fn is_at(file: &impl AsFd, path: &Path) -> bool {
    let opened = file.as_fd().try_clone_to_owned().map(File::from);
    let opened = opened.and_then(|file| file.metadata());
    match (opened, std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Whether more than this many bytes in one write may be mixed with those of others; `None` = never.
pub fn atomic(file: &impl AsFd) -> Option<usize> {
    use std::os::unix::fs::FileTypeExt;
    let opened = file.as_fd().try_clone_to_owned().map(File::from).ok()?;
    let kind = opened.metadata().ok()?.file_type();
    kind.is_fifo().then_some(libc::PIPE_BUF)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    #[test]
    fn a_rotated_file_is_noticed_and_a_pipe_without_a_reader_opens() {
        let directory = std::env::temp_dir().join(format!("relayd-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("access.log");
        let first = append(&path).unwrap();
        assert!(is_at(&first, &path));
        assert_eq!(atomic(&first), None);
        std::fs::rename(&path, directory.join("access.log.1")).unwrap();
        assert!(!is_at(&first, &path));
        drop(append(&path).unwrap());
        let pipe = directory.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let pipe = append(&pipe).unwrap();
        assert_eq!(atomic(&pipe), Some(libc::PIPE_BUF));
        // A full pipe is an error, not a wait.
        let mut file = File::from(pipe);
        let full = (0..1000)
            .find_map(|_| file.write(&[0; 4096]).err())
            .unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(datagrams(&directory.join("nobody")).is_err());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
