//! What the unit tests of sessions and queries stand on.
//! Owns a relay process without a configuration, and a relay.
//! Must never open a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use super::context::Context;
use super::generation::Generation;
use super::relays::Relay;
use crate::link::{self, Peer, Role, RunState};
use crate::options::Options;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The state of a process without a configuration.
pub fn context() -> Rc<Context> {
    let me = Peer {
        role: Role::Relay,
        instance: 0,
    };
    let (link, _remote) = link::pair(me);
    Context::new(me, link.sender, Arc::new(Options::default())).unwrap()
}

/// A relay `www` with that session timeout in seconds.
pub fn relay(timeout: u64) -> Rc<Relay> {
    let relay = conf::model::Relay {
        id: conf::model::RelayId(1),
        name: "www".to_owned(),
        block: "www".to_owned(),
        disabled: false,
        listen: conf::model::Listen {
            address: std::net::IpAddr::from([127, 0, 0, 1]).into(),
            port: 80,
            interface: None,
            tls: false,
            proxy: false,
        },
        protocol: conf::model::ProtocolId(0),
        target: conf::model::Target::Tables,
        tables: Vec::new(),
        key: None,
        retry: 0,
        transparent: false,
        tls_client: false,
        translate: None,
        proxy_protocol: None,
        session_timeout: Duration::from_secs(timeout),
        access: None,
        session_max: conf::model::SessionMax::default(),
    };
    let config = conf::Config {
        relays: vec![relay],
        ..conf::Config::default()
    };
    let before = Generation::default();
    let generation = Generation::new(1, Arc::new(config), &RunState::default(), &before).unwrap();
    Rc::clone(&generation.relays[&conf::model::RelayId(1)])
}
