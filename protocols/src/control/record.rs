//! The objects on the control socket: redirections, tables, hosts, relays, routers, routes, sessions, statistics.
//! Owns their content and their memory images by [`super::layout`].
//! Must never put an address of our memory into an image: pointers are zeros.

use super::ControlError;
use super::bytes::{
    get_i32, get_i64, get_port, get_text, get_u16, get_u32, get_u64, put, put_text,
};
use super::layout::P77;
use super::sockaddr::{get_address, put_address};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// "No id": the object is named by its name.
pub const EMPTY_ID: u32 = u32::MAX;

/// Something with a memory image.
pub trait Image: Sized {
    /// Bytes of the image.
    const SIZE: usize;
    /// Bytes that must be there to read it.
    const NEEDED: usize;
    /// Writes the image into zeroed memory of [`Image::SIZE`] bytes.
    fn fill(&self, image: &mut [u8]);
    /// Reads an image of at least [`Image::NEEDED`] bytes.
    ///
    /// # Errors
    /// A field has an impossible value.
    fn read(kind: u32, image: &[u8]) -> Result<Self, ControlError>;

    /// The image.
    fn to_image(&self) -> Vec<u8> {
        let mut image = vec![0; Self::SIZE];
        self.fill(&mut image);
        image
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is too short, or a field has an impossible value.
    fn from_payload(kind: u32, payload: &[u8]) -> Result<Self, ControlError> {
        if payload.len() < Self::NEEDED {
            return Err(ControlError::Size {
                kind,
                length: payload.len(),
                expected: Self::SIZE,
            });
        }
        Self::read(kind, payload)
    }
}

fn put_u32(image: &mut [u8], offset: usize, value: u32) {
    put(image, offset, &value.to_ne_bytes());
}

fn put_i32(image: &mut [u8], offset: usize, value: i32) {
    put(image, offset, &value.to_ne_bytes());
}

fn put_u64(image: &mut [u8], offset: usize, value: u64) {
    put(image, offset, &value.to_ne_bytes());
}

fn put_u16(image: &mut [u8], offset: usize, value: u16) {
    put(image, offset, &value.to_ne_bytes());
}

fn put_port(image: &mut [u8], offset: usize, value: u16) {
    put(image, offset, &value.to_be_bytes());
}

/// A `struct timeval` of two 64-bit numbers.
fn put_time(image: &mut [u8], offset: usize, value: Duration) {
    put_u64(image, offset, value.as_secs());
    put_u64(image, offset + 8, u64::from(value.subsec_micros()));
}

fn get_time(image: &[u8], offset: usize) -> Duration {
    let seconds = u64::try_from(get_i64(image, offset)).unwrap_or(0);
    let micros = u32::try_from(get_i64(image, offset + 8)).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::from(micros.min(999_999)))
}

fn state(kind: u32, number: i32) -> Result<i32, ControlError> {
    if (-1..=1).contains(&number) {
        Ok(number)
    } else {
        Err(ControlError::Value {
            kind,
            field: "status",
            value: number,
        })
    }
}

/// A redirection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectRecord {
    /// Id.
    pub id: u32,
    /// [`super::flags`]
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

/// A table instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableRecord {
    /// Id.
    pub id: u32,
    /// Redirection it belongs to; 0 = none.
    pub redirect: u32,
    /// [`super::flags`]
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
    /// [`super::flags`]
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

/// A relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayRecord {
    /// Id.
    pub id: u32,
    /// [`super::flags`]
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

/// A router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterRecord {
    /// Id.
    pub id: u32,
    /// [`super::flags`]
    pub flags: u32,
    /// Name.
    pub name: String,
    /// Route label.
    pub label: String,
    /// Number of routes.
    pub routes: i32,
    /// Gateways.
    pub table: u32,
    /// Port of the gateways' checks.
    pub port: u16,
    /// Routing table.
    pub rtable: i32,
}

impl Image for RouterRecord {
    const SIZE: usize = P77.router.size;
    const NEEDED: usize = P77.router.rtable + 4;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.router;
        put_u32(image, at.id, self.id);
        put_u32(image, at.flags, self.flags);
        put_text(image, at.name.at, at.name.size, &self.name);
        put_text(image, at.label.at, at.label.size, &self.label);
        put_i32(image, at.routes, self.routes);
        put_u32(image, at.table, self.table);
        put_port(image, at.port, self.port);
        put_i32(image, at.rtable, self.rtable);
    }

    fn read(_kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.router;
        Ok(RouterRecord {
            id: get_u32(image, at.id),
            flags: get_u32(image, at.flags),
            name: get_text(image, at.name.at, at.name.size),
            label: get_text(image, at.label.at, at.label.size),
            routes: get_i32(image, at.routes),
            table: get_u32(image, at.table),
            port: get_port(image, at.port),
            rtable: get_i32(image, at.rtable),
        })
    }
}

/// A route of a router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteRecord {
    /// Id.
    pub id: u32,
    /// Destination.
    pub address: Option<IpAddr>,
    /// Prefix length.
    pub prefix: i32,
    /// Router.
    pub router: u32,
}

impl Image for RouteRecord {
    const SIZE: usize = P77.route.size;
    const NEEDED: usize = P77.route.prefix + 4;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.route;
        put_u32(image, at.id, self.id);
        if let Some(address) = self.address {
            put_address(image, at.address, SocketAddr::new(address, 0));
        }
        put_i32(image, at.prefix, self.prefix);
        put_u32(image, at.router, self.router);
    }

    fn read(_kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.route;
        Ok(RouteRecord {
            id: get_u32(image, at.id),
            address: get_address(image, at.address).map(|a| a.ip()),
            prefix: get_i32(image, at.prefix),
            router: get_u32(image, at.router),
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

/// Session statistics of a redirection, or of a relay in one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatisticsRecord {
    /// Redirection or relay; [`EMPTY_ID`] ends a list.
    pub id: u32,
    /// Process.
    pub process: i32,
    /// Seconds of the shortest period.
    pub interval: u64,
    /// Sessions since start.
    pub total: u64,
    /// Periods counted.
    pub tick: u32,
    /// Mean per period.
    pub average: u32,
    /// In the last period.
    pub last: u32,
    /// Mean per hour.
    pub average_hour: u32,
    /// In this hour.
    pub last_hour: u32,
    /// Mean per day.
    pub average_day: u32,
    /// In this day.
    pub last_day: u32,
}

impl Image for StatisticsRecord {
    const SIZE: usize = P77.statistics.size;
    const NEEDED: usize = P77.statistics.last_day + 4;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.statistics;
        put_u32(image, at.id, self.id);
        put_i32(image, at.process, self.process);
        put_u64(image, at.interval, self.interval);
        put_u64(image, at.total, self.total);
        put_u32(image, at.tick, self.tick);
        put_u32(image, at.average, self.average);
        put_u32(image, at.last, self.last);
        put_u32(image, at.average_hour, self.average_hour);
        put_u32(image, at.last_hour, self.last_hour);
        put_u32(image, at.average_day, self.average_day);
        put_u32(image, at.last_day, self.last_day);
    }

    fn read(_kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.statistics;
        Ok(StatisticsRecord {
            id: get_u32(image, at.id),
            process: get_i32(image, at.process),
            interval: get_u64(image, at.interval),
            total: get_u64(image, at.total),
            tick: get_u32(image, at.tick),
            average: get_u32(image, at.average),
            last: get_u32(image, at.last),
            average_hour: get_u32(image, at.average_hour),
            last_hour: get_u32(image, at.last_hour),
            average_day: get_u32(image, at.average_day),
            last_day: get_u32(image, at.last_day),
        })
    }
}

impl StatisticsRecord {
    /// The sum of several, as relayctl shows it for a relay.
    pub fn sum(all: &[StatisticsRecord]) -> StatisticsRecord {
        let mut sum = StatisticsRecord::default();
        for one in all {
            sum.id = one.id;
            sum.interval = one.interval;
            sum.total = sum.total.saturating_add(one.total);
            sum.average = sum.average.saturating_add(one.average);
            sum.last = sum.last.saturating_add(one.last);
            sum.average_hour = sum.average_hour.saturating_add(one.average_hour);
            sum.last_hour = sum.last_hour.saturating_add(one.last_hour);
            sum.average_day = sum.average_day.saturating_add(one.average_day);
            sum.last_day = sum.last_day.saturating_add(one.last_day);
        }
        sum
    }

    /// A list with its end mark, in the fixed number of entries; what does not fit is added to the last entry,
    /// so that the sum is right.
    pub fn list_to_image(list: &[StatisticsRecord]) -> Vec<u8> {
        let room = P77.statistics_entries - 1;
        let mut entries: Vec<StatisticsRecord> = list.to_vec();
        if entries.len() > room {
            let rest = entries.split_off(room - 1);
            entries.push(StatisticsRecord::sum(&rest));
        }
        let mut image: Vec<u8> = entries.iter().flat_map(Image::to_image).collect();
        let end = StatisticsRecord {
            id: EMPTY_ID,
            ..StatisticsRecord::default()
        };
        image.extend(end.to_image());
        image.resize(P77.statistics_entries * Self::SIZE, 0);
        image
    }

    /// The entries of such a list.
    ///
    /// # Errors
    /// Not even one entry is there.
    pub fn list_from_payload(
        kind: u32,
        payload: &[u8],
    ) -> Result<Vec<StatisticsRecord>, ControlError> {
        if payload.len() < Self::SIZE {
            return Err(ControlError::Size {
                kind,
                length: payload.len(),
                expected: P77.statistics_entries * Self::SIZE,
            });
        }
        payload
            .chunks_exact(Self::SIZE)
            .map(|entry| Self::read(kind, entry))
            .take_while(|entry| !matches!(entry, Ok(entry) if entry.id == EMPTY_ID))
            .collect()
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
