//! The nftables backend: redirects at the speed of the Linux kernel.
//! Owns the table `relayd` of the kernel.
//! Must never run a program, nor touch a table that is not its own.

use crate::filter::{
    Capabilities, FilterError, PacketFilter, Ruleset, ServiceStatistics, TableChange,
};
use conf::model::{HostId, RedirectId};
use std::net::SocketAddr;

/// Whether this process may use nftables here.
///
/// # Errors
/// Why not.
pub fn probe() -> Result<(), FilterError> {
    Err(unfinished())
}

fn unfinished() -> FilterError {
    FilterError::Unavailable {
        object: "packet filter nftables".to_owned(),
        reason: "not finished".to_owned(),
        cure: "use the packet filter userland",
    }
}

/// The backend.
#[derive(Debug)]
pub struct Nftables {}

impl Nftables {
    /// Opens the sockets.
    ///
    /// # Errors
    /// No right or no kernel support.
    pub fn open(_table: &str) -> Result<Nftables, FilterError> {
        Err(unfinished())
    }
}

impl PacketFilter for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            route: true,
            tag: true,
            match_only: true,
            interface: true,
            log: true,
            sticky: true,
            least_states: true,
            ranges: true,
            udp: true,
            nat_lookup: true,
            needs_listeners: false,
        }
    }
    fn adopt(&mut self) -> Result<(), FilterError> {
        Err(unfinished())
    }
    fn apply(&mut self, _desired: &Ruleset) -> Result<Vec<TableChange>, FilterError> {
        Err(unfinished())
    }
    fn statistics(&mut self) -> Result<Vec<ServiceStatistics>, FilterError> {
        Err(unfinished())
    }
    fn kill(&mut self, _service: RedirectId, _host: Option<HostId>) -> Result<u32, FilterError> {
        Err(unfinished())
    }
    fn nat_lookup(
        &mut self,
        _ip_protocol: u8,
        _client: SocketAddr,
        _local: SocketAddr,
    ) -> Result<Option<SocketAddr>, FilterError> {
        Err(unfinished())
    }
    fn release(&mut self) -> Result<(), FilterError> {
        Err(unfinished())
    }
    fn purge(&mut self) -> Result<(), FilterError> {
        Err(unfinished())
    }
    fn preview(&self, _desired: &Ruleset) -> String {
        String::new()
    }
}
