//! Every option of a redirect with real connections through nftables, both address families.
#![cfg(all(target_os = "linux", feature = "nftables"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../network/mod.rs"]
mod network;

mod balancing;
mod lacking;
mod listening;
mod others;
mod states;

use network::services::from_client;
use network::{Network, open};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};

fn hold(network: &Network, to: SocketAddr, count: usize) -> Vec<(TcpStream, String)> {
    from_client(network, move || {
        (0..count).filter_map(|_| open(to).ok()).collect()
    })
}

fn held(connections: &[(TcpStream, String)]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for (_, name) in connections {
        *tally.entry(name.clone()).or_default() += 1;
    }
    tally
}
