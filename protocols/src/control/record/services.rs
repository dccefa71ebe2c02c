//! Redirections, relays and their sessions on the control socket.
//! Owns their memory images.
//! Must never put an address of our memory into an image.

use super::{Image, get_time, put_i32, put_port, put_time, put_u16, put_u32};
use crate::control::ControlError;
use crate::control::bytes::{get_i32, get_port, get_text, get_u16, get_u32, put_text};
use crate::control::layout::P77;
use crate::control::sockaddr::{get_address, put_address};
use std::net::SocketAddr;
use std::time::Duration;

/// A redirection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectRecord {
    /// Id.
    pub id: u32,
    /// [`crate::control::flags`]
    pub flags: u32,
    /// First port.
    pub port: u16,
    /// Main table.
    pub table: u32,
    /// Backup table; 0 = none.
    pub backup: u32,
    /// Name.
    pub name: String,
    /// `pftag`
    pub tag: String,
    /// Session timeout.
    pub timeout: Duration,
}

impl Image for RedirectRecord {
    const SIZE: usize = P77.redirect.size;
    const NEEDED: usize = P77.redirect.name.at + 1;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.redirect;
        put_u32(image, at.id, self.id);
        put_u32(image, at.flags, self.flags);
        put_port(image, at.port, self.port);
        put_u32(image, at.table, self.table);
        put_u32(image, at.backup, self.backup);
        put_text(image, at.name.at, at.name.size, &self.name);
        put_text(image, at.tag.at, at.tag.size, &self.tag);
        put_time(image, at.timeout, self.timeout);
    }

    fn read(_kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.redirect;
        Ok(RedirectRecord {
            id: get_u32(image, at.id),
            flags: get_u32(image, at.flags),
            port: get_port(image, at.port),
            table: get_u32(image, at.table),
            backup: get_u32(image, at.backup),
            name: get_text(image, at.name.at, at.name.size),
            tag: get_text(image, at.tag.at, at.tag.size),
            timeout: get_time(image, at.timeout),
        })
    }
}

/// A relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayRecord {
    /// Id.
    pub id: u32,
    /// [`crate::control::flags`]
    pub flags: u32,
    /// Protocol.
    pub protocol: u32,
    /// Name.
    pub name: String,
    /// Listener.
    pub listen: Option<SocketAddr>,
    /// Fixed target.
    pub target: Option<SocketAddr>,
    /// Repeated connects.
    pub retry: i32,
    /// Session timeout.
    pub timeout: Duration,
    /// Hosts that are up.
    pub up: i32,
}

impl Image for RelayRecord {
    const SIZE: usize = P77.relay.size;
    const NEEDED: usize = P77.relay.name.at + 1;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.relay;
        put_u32(image, at.id, self.id);
        put_u32(image, at.flags, self.flags);
        put_u32(image, at.protocol, self.protocol);
        put_text(image, at.name.at, at.name.size, &self.name);
        for (address, place, port) in [
            (self.listen, at.listen, at.port),
            (self.target, at.target, at.target_port),
        ] {
            if let Some(address) = address {
                put_address(image, place, address);
                put_port(image, port, address.port());
            }
        }
        put_i32(image, at.retry, self.retry);
        put_time(image, at.timeout, self.timeout);
        put_i32(image, at.up, self.up);
    }

    fn read(_kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.relay;
        Ok(RelayRecord {
            id: get_u32(image, at.id),
            flags: get_u32(image, at.flags),
            protocol: get_u32(image, at.protocol),
            name: get_text(image, at.name.at, at.name.size),
            listen: get_address(image, at.listen),
            target: get_address(image, at.target),
            retry: get_i32(image, at.retry),
            timeout: get_time(image, at.timeout),
            up: get_i32(image, at.up),
        })
    }
}

/// A running session of a relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRecord {
    /// Number in its process.
    pub id: u32,
    /// Relay.
    pub relay: u32,
    /// Client.
    pub client: Option<SocketAddr>,
    /// Server; `None` until connected.
    pub server: Option<SocketAddr>,
    /// Begin, on the system's monotonic clock.
    pub started: Duration,
    /// Last byte, on the same clock.
    pub last: Duration,
    /// It is ending.
    pub done: bool,
    /// Tag id; 0 = none.
    pub tag: u16,
    /// Relay process.
    pub pid: u32,
}

impl Image for SessionRecord {
    const SIZE: usize = P77.session.size;
    const NEEDED: usize = P77.session.pid + 4;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.session;
        put_u32(image, at.id, self.id);
        put_u32(image, at.relay, self.relay);
        for (address, place, port) in [
            (self.client, at.client, at.client_port),
            (self.server, at.server, at.server_port),
        ] {
            if let Some(address) = address {
                put_address(image, place, address);
                put_port(image, port, address.port());
            }
        }
        put_time(image, at.started, self.started);
        put_time(image, at.last, self.last);
        put_i32(image, at.done, i32::from(self.done));
        put_u16(image, at.tag, self.tag);
        put_u32(image, at.pid, self.pid);
    }

    fn read(_kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.session;
        let address = |place, port| {
            get_address(image, place).map(|mut address| {
                address.set_port(get_port(image, port));
                address
            })
        };
        Ok(SessionRecord {
            id: get_u32(image, at.id),
            relay: get_u32(image, at.relay),
            client: address(at.client, at.client_port),
            server: address(at.server, at.server_port),
            started: get_time(image, at.started),
            last: get_time(image, at.last),
            done: get_i32(image, at.done) != 0,
            tag: get_u16(image, at.tag),
            pid: get_u32(image, at.pid),
        })
    }
}
