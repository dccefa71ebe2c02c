//! Routers and routes on the control socket.
//! Owns their memory images.
//! Must never put an address of our memory into an image.

use super::{Image, put_i32, put_port, put_u32};
use crate::control::ControlError;
use crate::control::bytes::{get_i32, get_port, get_text, get_u32, put_text};
use crate::control::layout::P77;
use crate::control::sockaddr::{get_address, put_address};
use std::net::{IpAddr, SocketAddr};

/// A router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterRecord {
    /// Id.
    pub id: u32,
    /// [`crate::control::flags`]
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
