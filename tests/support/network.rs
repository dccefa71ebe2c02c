//! A client, a balancer and three servers, each in its own network namespace.
//! Owns the namespaces and their wiring.
//! Must never touch the namespace the test runs in.

use super::client::Echo;
use super::servers::Speech;
use super::{Daemon, Netns, Server, Settings, wait};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Client, balancer, three servers; each server on a wire of its own, with IPv4 and IPv6. The client is 198.51.100.2 and
/// 2001:db8::2, the balancer 198.51.100.1 and 2001:db8::1, server N 192.0.2.(16N+2) and 2001:db8:N::2.
#[derive(Debug)]
pub struct Network {
    /// Where clients are.
    pub client: Netns,
    /// Where relayd runs.
    pub balancer: Netns,
    /// Where servers are.
    pub servers: Vec<Netns>,
}

impl Network {
    /// A new one; the balancer forwards.
    pub fn new() -> Network {
        let network = Network {
            client: Netns::new("client"),
            balancer: Netns::new("balancer"),
            servers: ["one", "two", "three"].map(Netns::new).into(),
        };
        let Network {
            client,
            balancer,
            servers,
        } = &network;
        Netns::join(
            (client, "eth0", &["198.51.100.2/24", "2001:db8::2/64"]),
            (balancer, "front", &["198.51.100.1/24", "2001:db8::1/64"]),
        );
        for (number, server) in (1..).zip(servers) {
            let six = format!("2001:db8:{number}::");
            let near = format!("192.0.2.{}", 16 * number + 1);
            let far = format!("192.0.2.{}", 16 * number + 2);
            Netns::join(
                (
                    balancer,
                    &format!("back{number}"),
                    &[&format!("{near}/28"), &format!("{six}1/64")],
                ),
                (
                    server,
                    "eth0",
                    &[&format!("{far}/28"), &format!("{six}2/64")],
                ),
            );
            server.ip(&["route", "add", "default", "via", &near]);
            server.ip(&["-6", "route", "add", "default", "via", &format!("{six}1")]);
        }
        client.ip(&["route", "add", "default", "via", "198.51.100.1"]);
        client.ip(&["-6", "route", "add", "default", "via", "2001:db8::1"]);
        balancer.sysctl("net.ipv4.ip_forward", "1");
        balancer.sysctl("net.ipv6.conf.all.forwarding", "1");
        network
    }

    /// A server per namespace and family, named after its number.
    pub fn serve(&self) -> Vec<Vec<Server>> {
        (1..)
            .zip(&self.servers)
            .map(|(number, netns)| {
                [
                    format!("192.0.2.{}:80", 16 * number + 2),
                    format!("[2001:db8:{number}::2]:80"),
                ]
                .map(|at| {
                    let name = number.to_string();
                    Server::inside(netns, &name, Speech::Echo, at.parse().unwrap())
                })
                .into()
            })
            .collect()
    }

    /// Names of the servers that `times` new connections reach; a failed one is named by its error.
    pub fn names(&self, to: SocketAddr, times: usize) -> BTreeSet<String> {
        self.client.run(move || {
            (0..times)
                .map(|_| match Echo::connect(to) {
                    Ok(client) => client.name,
                    Err(error) => error.to_string(),
                })
                .collect()
        })
    }

    /// An open connection to each of the three servers.
    pub fn held(&self, to: SocketAddr) -> Vec<Echo> {
        self.client.run(move || {
            let to_one = |name: &str| {
                wait::until("a connection to each", || {
                    Echo::connect(to).ok().filter(|client| client.name == name)
                })
            };
            ["1", "2", "3"].map(to_one).into()
        })
    }

    /// The daemon under nftables in the balancer.
    pub fn daemon(&self, arguments: &[&str], config: &str) -> Daemon {
        let settings = Settings {
            backend: "nftables",
            netns: Some(&self.balancer),
            arguments,
            ..Settings::default()
        };
        Daemon::with(settings, config)
    }

    /// The listing of the daemon's table.
    pub fn listing(&self) -> String {
        let table = super::daemon::table();
        self.balancer
            .text("nft", &["list", "table", "inet", &table])
    }
}
