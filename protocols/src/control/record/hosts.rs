//! Tables, hosts and check results on the control socket.
//! Owns their memory images.
//! Must never put an address of our memory into an image.

use super::{Image, get_time, put_i32, put_port, put_time, put_u16, put_u32, put_u64, state};
use crate::control::ControlError;
use crate::control::bytes::{get_i32, get_port, get_text, get_u16, get_u32, get_u64, put_text};
use crate::control::layout::P77;
use crate::control::sockaddr::{get_address, put_address};
use std::net::SocketAddr;
use std::time::Duration;

/// A table instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableRecord {
    /// Id.
    pub id: u32,
    /// Redirection it belongs to; 0 = none.
    pub redirect: u32,
    /// [`crate::control::flags`]
    pub flags: u32,
    /// Kind of check: 0 none, 1 icmp, 2 tcp, 3 http code, 4 http digest, 5 binary, 6 send/expect, 7 script.
    pub check: i32,
    /// Demotion group.
    pub demote: String,
    /// Check timeout.
    pub timeout: Duration,
    /// Port.
    pub port: u16,
    /// `name:port`
    pub name: String,
    /// Hosts that are up.
    pub up: i32,
}

impl Image for TableRecord {
    const SIZE: usize = P77.table.size;
    const NEEDED: usize = P77.table.up + 4;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.table;
        put_u32(image, at.id, self.id);
        put_u32(image, at.redirect, self.redirect);
        put_u32(image, at.flags, self.flags);
        put_i32(image, at.check, self.check);
        put_text(image, at.demote.at, at.demote.size, &self.demote);
        put_time(image, at.timeout, self.timeout);
        put_port(image, at.port, self.port);
        put_text(image, at.name.at, at.name.size, &self.name);
        put_u64(
            image,
            at.name_length,
            u64::try_from(self.name.len()).unwrap_or(0),
        );
        put_i32(image, at.up, self.up);
    }

    fn read(_kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.table;
        Ok(TableRecord {
            id: get_u32(image, at.id),
            redirect: get_u32(image, at.redirect),
            flags: get_u32(image, at.flags),
            check: get_i32(image, at.check),
            demote: get_text(image, at.demote.at, at.demote.size),
            timeout: get_time(image, at.timeout),
            port: get_port(image, at.port),
            name: get_text(image, at.name.at, at.name.size),
            up: get_i32(image, at.up),
        })
    }
}

/// A host of a table instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRecord {
    /// Id.
    pub id: u32,
    /// Host whose state this one copies; 0 = none.
    pub parent: u32,
    /// Table instance.
    pub table: u32,
    /// Failed checks that it survives.
    pub retry: i32,
    /// Name as configured.
    pub name: String,
    /// Address.
    pub address: Option<SocketAddr>,
    /// TTL of check packets.
    pub ttl: i32,
    /// Route priority.
    pub priority: i32,
    /// [`crate::control::flags`]
    pub flags: u32,
    /// -1 down, 0 unknown, 1 up.
    pub up: i32,
    /// Checks counted.
    pub checks: u64,
    /// Checks that found it up.
    pub ups: u64,
    /// Failures in a row that `retry` covers.
    pub retries: u32,
    /// Number of the last result.
    pub reason: u16,
    /// HTTP status of the last check.
    pub http_code: i32,
}

impl Image for HostRecord {
    const SIZE: usize = P77.host.size;
    const NEEDED: usize = P77.host.reason + 2;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.host;
        put_u32(image, at.id, self.id);
        put_u32(image, at.parent, self.parent);
        put_u32(image, at.table, self.table);
        put_i32(image, at.retry, self.retry);
        put_text(image, at.name.at, at.name.size, &self.name);
        if let Some(address) = self.address {
            put_address(image, at.address, address);
        }
        put_i32(image, at.ttl, self.ttl);
        put_i32(image, at.priority, self.priority);
        put_u32(image, at.flags, self.flags);
        put_i32(image, at.up, self.up);
        put_i32(image, at.last_up, self.up);
        put_u64(image, at.checks, self.checks);
        put_u64(image, at.ups, self.ups);
        put_u32(image, at.retries, self.retries);
        put_u16(image, at.reason, self.reason);
        put_i32(image, at.http_code, self.http_code);
    }

    fn read(kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.host;
        Ok(HostRecord {
            id: get_u32(image, at.id),
            parent: get_u32(image, at.parent),
            table: get_u32(image, at.table),
            retry: get_i32(image, at.retry),
            name: get_text(image, at.name.at, at.name.size),
            address: get_address(image, at.address),
            ttl: get_i32(image, at.ttl),
            priority: get_i32(image, at.priority),
            flags: get_u32(image, at.flags),
            up: state(kind, get_i32(image, at.up))?,
            checks: get_u64(image, at.checks),
            ups: get_u64(image, at.ups),
            retries: get_u32(image, at.retries),
            reason: get_u16(image, at.reason),
            http_code: get_i32(image, at.http_code),
        })
    }
}

/// A check result, as monitors see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusRecord {
    /// Host.
    pub id: u32,
    /// -1 down, 0 unknown, 1 up.
    pub up: i32,
    /// Failures in a row that `retry` covers.
    pub retries: i32,
    /// Checks counted.
    pub checks: u64,
    /// Number of the result.
    pub reason: u16,
}

impl Image for StatusRecord {
    const SIZE: usize = P77.status.size;
    const NEEDED: usize = P77.status.up + 4;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.status;
        put_u32(image, at.id, self.id);
        put_i32(image, at.up, self.up);
        put_i32(image, at.retries, self.retries);
        put_u64(image, at.checks, self.checks);
        put_u16(image, at.reason, self.reason);
    }

    fn read(kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.status;
        Ok(StatusRecord {
            id: get_u32(image, at.id),
            up: state(kind, get_i32(image, at.up))?,
            retries: get_i32(image, at.retries),
            checks: get_u64(image, at.checks),
            reason: get_u16(image, at.reason),
        })
    }
}
