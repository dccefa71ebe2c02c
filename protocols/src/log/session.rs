//! The line that tells how a session of a relay ended.
//! Owns its words, those of the original, and the reasons.
//! Must never decide whether the line is printed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What the line says besides its reason.
#[derive(Clone, Copy, Debug)]
pub struct SessionLine<'a> {
    /// Relay.
    pub relay: &'a str,
    /// Number of the session in its process, from 1.
    pub session: u64,
    /// Sessions of the process that go on.
    pub active: usize,
    /// Tag; `None` prints 0.
    pub tag: Option<&'a str>,
    /// Client.
    pub client: IpAddr,
    /// Server, once chosen.
    pub server: Option<SocketAddr>,
    /// Port printed while no server was chosen.
    pub port: u16,
    /// Why it ended.
    pub reason: &'a str,
    /// What `log` actions collected, beginning with a blank; empty = nothing.
    pub items: &'a str,
}

impl fmt::Display for SessionLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "relay {}, session {} ({} active), {}, {} -> ",
            self.relay,
            self.session,
            self.active,
            self.tag.unwrap_or("0"),
            self.client
        )?;
        match self.server {
            Some(server) => write!(f, "{}:{}", plain(server), server.port())?,
            None => write!(f, ":{}", self.port)?,
        }
        write!(f, ", {}", self.reason)?;
        if !self.items.is_empty() {
            write!(f, ",{}", self.items)?;
        }
        Ok(())
    }
}

/// An address as the original prints it: no brackets, no port.
fn plain(address: SocketAddr) -> IpAddr {
    address.ip()
}

/// What a relay process says at start of a table in use.
pub fn adding_hosts(count: usize, table: &str, checked: bool) -> String {
    let note = if checked { "" } else { " (no check)" };
    format!("adding {count} hosts from table {table}{note}")
}

/// What it says once a relay accepts.
pub fn running_relay(name: &str) -> String {
    format!("relay_launch: running relay {name}")
}

/// Both ends closed in order.
pub const DONE: &str = "done";
/// Nothing moved for the session timeout.
pub const TIMEOUT: &str = "buffer event timeout";
/// A socket failed.
pub const ERROR: &str = "buffer event error";
/// No host, or none that could be reached at once.
pub const FAILED: &str = "session failed";
/// All hosts are full, and as many sessions wait as may.
pub const QUEUE_FULL: &str = "queue full";
/// No host had room in time.
pub const QUEUE_TIMEOUT: &str = "queue timeout";
/// The client reset its connection while it waited for a host with room.
pub const QUEUE_LEFT: &str = "client left the queue";
/// The target is the relay itself, or the session was killed.
pub const ABORTED: &str = "session aborted";
/// `nat lookup` found nothing.
pub const NAT_FAILED: &str = "session NAT lookup failed";
/// The server did not answer in time.
pub const CONNECT_TIMEOUT: &str = "connect timeout";
/// The session outlived its configuration or its time.
pub const HARD_TIMEOUT: &str = "hard timeout";
/// A datagram was answered.
pub const UDP_DONE: &str = "session closed";
/// A datagram was not answered in time.
pub const UDP_TIMEOUT: &str = "udp timeout";
/// The PROXY header could not be sent.
pub const PROXY_FAILED: &str = "failed to write PROXY header";

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::*;

    #[test]
    fn lines_are_those_of_the_original() {
        let mut line = SessionLine {
            relay: "www",
            session: 1,
            active: 0,
            tag: None,
            client: "127.0.0.1".parse().unwrap(),
            server: Some("127.0.0.1:8080".parse().unwrap()),
            port: 0,
            reason: DONE,
            items: "",
        };
        assert_eq!(
            line.to_string(),
            "relay www, session 1 (0 active), 0, 127.0.0.1 -> 127.0.0.1:8080, done"
        );
        line.server = Some("[2001:db8::1]:80".parse().unwrap());
        line.tag = Some("RED");
        line.items = " [Host: foo.bar] GET {Server: x};";
        assert_eq!(
            line.to_string(),
            "relay www, session 1 (0 active), RED, 127.0.0.1 -> 2001:db8::1:80, done, [Host: foo.bar] GET {Server: x};"
        );
        line.server = None;
        line.port = 8080;
        line.items = "";
        line.reason = FAILED;
        assert_eq!(
            line.to_string(),
            "relay www, session 1 (0 active), RED, 127.0.0.1 -> :8080, session failed"
        );
    }

    #[test]
    fn start_lines_are_those_of_the_original() {
        assert_eq!(
            adding_hosts(2, "web:80", true),
            "adding 2 hosts from table web:80"
        );
        assert_eq!(
            adding_hosts(1, "web:80", false),
            "adding 1 hosts from table web:80 (no check)"
        );
        assert_eq!(running_relay("www"), "relay_launch: running relay www");
    }
}
