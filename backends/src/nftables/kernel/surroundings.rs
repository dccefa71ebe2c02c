//! What in this system would make redirects silently useless: forwarding off, no route, filters on return paths.
//! Owns the look at sysctls, routes and interfaces, and the command that cures each trouble.
//! Must never change a setting: it is the administrator's system.

use crate::filter::{FilterError, Ruleset, Service};
use crate::nftables::dsr;
use conf::model::Forward;
use nix::net::if_::if_nametoindex;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// Hosts looked at for a route; more would delay a start with many thousands.
const ROUTES_MAX: usize = 1000;

fn sysctl(path: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", path.replace('.', "/"))).ok()?;
    Some(text.trim().to_owned())
}

/// What cannot work at all.
///
/// # Errors
/// A redirect with `route to` names an interface that does not exist.
pub fn check(desired: &Ruleset) -> Result<(), FilterError> {
    for service in &desired.services {
        let Forward::Route { interface } = &service.forward else {
            continue;
        };
        let mut devices = dsr::devices(std::iter::once(service.as_ref()));
        devices.insert(interface.clone());
        let absent = |device: &&String| if_nametoindex(device.as_str()).is_err();
        if let Some(device) = devices.iter().find(absent) {
            return Err(FilterError::Unavailable {
                object: format!("redirect {}", service.name),
                reason: format!("there is no interface {device}"),
                cure: "make the interface, or correct its name in relayd.conf",
            });
        }
    }
    Ok(())
}

/// One line for each trouble, with its cure.
pub fn warnings(desired: &Ruleset) -> Vec<String> {
    let mut lines = Vec::new();
    let translated: Vec<&Service> = desired
        .services
        .iter()
        .map(AsRef::as_ref)
        .filter(|s: &&Service| s.forward == Forward::Translate)
        .collect();
    forwarding(&translated, &mut lines);
    routes(&desired.services, &mut lines);
    interfaces(desired, &mut lines);
    for service in &desired.services {
        if let Forward::Route { interface } = &service.forward {
            reverse_path(&service.name, interface, &mut lines);
        }
    }
    lines
}

/// A redirect whose hosts are not on this system needs forwarding.
fn forwarding(services: &[&Service], lines: &mut Vec<String>) {
    let families = [
        ("net.ipv4.ip_forward", "IPv4", false),
        ("net.ipv6.conf.all.forwarding", "IPv6", true),
    ];
    for (name, family, v6) in families {
        let remote = services.iter().find(|service| {
            let mut hosts = service.servers.iter();
            hosts.any(|s| s.address.ip.is_ipv6() == v6 && !is_local(s.address.ip))
        });
        if let Some(service) = remote
            && sysctl(name).as_deref() == Some("0")
        {
            lines.push(format!(
                "redirect {}: {family} packets are not forwarded to its hosts; sysctl -w {name}=1",
                service.name
            ));
        }
    }
}

/// Whether an address is this system's own.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// Connecting a datagram socket asks for a route and sends nothing.
fn has_route(to: SocketAddr) -> bool {
    let any: IpAddr = match to.is_ipv4() {
        true => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        false => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind(SocketAddr::new(any, 0)).is_ok_and(|socket| socket.connect(to).is_ok())
}

fn routes(services: &[Arc<Service>], lines: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for service in services {
        for server in &service.servers {
            if seen.len() >= ROUTES_MAX || !seen.insert(server.address) {
                continue;
            }
            let ip = server.address.ip;
            if !has_route(server.address.with_port(9)) {
                lines.push(format!(
                    "redirect {}: there is no route to host {ip}; ip route add {ip} via GATEWAY",
                    service.name
                ));
            }
            if ip.is_loopback() && service.forward == Forward::Translate {
                lines.push(loopback(&service.name, ip));
            }
        }
    }
}

/// Packets from outside do not reach this system's loopback by a rewritten address.
fn loopback(name: &str, ip: IpAddr) -> String {
    match ip.is_ipv4() {
        true => format!(
            "redirect {name}: host {ip} gets connections from outside only with sysctl -w net.ipv4.conf.INTERFACE.route_localnet=1; better use a relay"
        ),
        false => format!(
            "redirect {name}: host {ip} cannot get connections from outside; use a relay or another address"
        ),
    }
}

fn interfaces(desired: &Ruleset, lines: &mut Vec<String>) {
    let redirects = desired.services.iter().flat_map(|service| {
        let named = service
            .listeners
            .iter()
            .filter_map(|l| l.interface.as_ref());
        named.map(move |interface| (format!("redirect {}", service.name), interface))
    });
    let relays = desired.relays.iter().filter_map(|relay| {
        let interface = relay.interface.as_ref()?;
        Some((format!("relay {}", relay.name), interface))
    });
    let mut seen = BTreeSet::new();
    for (object, interface) in redirects.chain(relays) {
        if if_nametoindex(interface.as_str()).is_err() && seen.insert((object.clone(), interface)) {
            lines.push(format!(
                "{object}: there is no interface {interface} to listen on; make the interface, or correct its name in relayd.conf"
            ));
        }
    }
}

/// With Direct Server Return the answer takes another way than the question.
fn reverse_path(name: &str, interface: &str, lines: &mut Vec<String>) {
    for place in ["all", interface] {
        let key = format!("net.ipv4.conf.{place}.rp_filter");
        if sysctl(&key).as_deref() == Some("1") {
            lines.push(format!(
                "redirect {name}: strict reverse path filtering may drop packets of clients that are reached another way; sysctl -w {key}=2"
            ));
        }
    }
}
