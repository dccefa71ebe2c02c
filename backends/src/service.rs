//! Telling the service manager (systemd's notify protocol) that the daemon serves, reloads, or stops.
//! Owns the datagram; without `NOTIFY_SOCKET` in the environment every call does nothing.
//! Must never fail the daemon: a manager that does not listen is not our loss.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// What the daemon does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// All roles serve the configuration of this generation.
    Ready {
        /// Number of the configuration.
        generation: u64,
    },
    /// A reload began, at this monotonic time in microseconds.
    Reloading {
        /// CLOCK_MONOTONIC in microseconds.
        monotonic: u64,
    },
    /// A line for `systemctl status`.
    Status(&'a str),
    /// The event loop turns; due at least every [`watchdog`].
    Alive,
    /// The daemon ends.
    Stopping,
}

impl State<'_> {
    fn text(&self) -> String {
        match self {
            State::Ready { generation } => {
                format!("READY=1\nSTATUS=serving configuration {generation}")
            }
            State::Reloading { monotonic } => {
                format!("RELOADING=1\nMONOTONIC_USEC={monotonic}\nSTATUS=reloading")
            }
            // A newline would begin another assignment.
            State::Status(line) => format!("STATUS={}", line.replace('\n', " ")),
            State::Alive => "WATCHDOG=1".to_owned(),
            State::Stopping => "STOPPING=1\nSTATUS=stopping".to_owned(),
        }
    }
}

/// Microseconds since some fixed moment, as the manager counts them.
pub fn monotonic() -> u64 {
    let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
    let rest = u64::try_from(now.tv_nsec() / 1000).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(rest)
}

/// How often the manager wants to hear [`State::Alive`], if at all; say it twice as often.
pub fn watchdog() -> Option<Duration> {
    let limit = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let meant_for = std::env::var("WATCHDOG_PID").ok();
    let ours = meant_for.is_none_or(|pid| pid == std::process::id().to_string());
    (ours && limit > 0).then(|| Duration::from_micros(limit))
}

/// Tells the service manager, if there is one.
pub fn notify(state: &State<'_>) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(Path::new(&socket), &state.text())
    {
        tracing::debug!("notify: {}: {error}", Path::new(&socket).display());
    }
}

fn send(socket: &Path, text: &str) -> io::Result<()> {
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(text.as_bytes(), &address(socket)?)?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn address(socket: &Path) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    // `@name` is in the abstract name space.
    match socket.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(socket: &Path) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_manager_hears_the_assignments() {
        let path = std::env::temp_dir().join(format!("relayd-notify.{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        send(&path, &State::Ready { generation: 3 }.text()).unwrap();
        let mut buffer = [0; 100];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(
            buffer.get(..length).unwrap(),
            b"READY=1\nSTATUS=serving configuration 3"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(send(&path, "x").is_err());
    }

    #[test]
    fn a_status_stays_one_line() {
        assert_eq!(State::Status("a\nREADY=1").text(), "STATUS=a READY=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_names_are_understood() {
        let name = format!("@relayd-notify-{}", std::process::id());
        let bound = address(Path::new(&name)).unwrap();
        let manager = UnixDatagram::bind_addr(&bound).unwrap();
        send(Path::new(&name), &State::Stopping.text()).unwrap();
        let mut buffer = [0; 100];
        assert!(manager.recv(&mut buffer).unwrap() > 0);
    }
}
