//! Names, services, interfaces and groups of this system, and the files of a configuration.
//! Owns the answers the configuration's grammar asks for.
//! Must never be asked while traffic flows: names are resolved at load, and that may take seconds.

use conf::limits;
use conf::model::Address;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use std::io::{self, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

/// Reads files from disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl conf::Source for Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = std::fs::File::open(path)?;
        let mut bytes = Vec::new();
        // One byte more than allowed tells the parser that the file is too large.
        file.take(limits::FILE_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Asks this system.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// Services that every system has, for those without `/etc/services`.
const SERVICES: &[(&str, u16)] = &[
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("www", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("imap", 143),
    ("imap2", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("submissions", 465),
    ("syslog", 514),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("ms-sql-s", 1433),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("redis", 6379),
];

/// The IP protocols that have ports.
const PROTOCOLS: &[(&str, u8)] = &[("tcp", 6), ("udp", 17)];

/// Addresses of all interfaces: name, address.
fn interface_addresses() -> Vec<(String, Address)> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let storage = interface.address?;
            let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
                (Some(v4), _) => Address::from(IpAddr::V4(v4.ip())),
                (_, Some(v6)) => Address {
                    ip: IpAddr::V6(v6.ip()),
                    scope: v6.scope_id(),
                },
                _ => return None,
            };
            Some((interface.interface_name, address))
        })
        .collect()
}

/// Members of an interface group: the kind's name without number (`em`), as OpenBSD's groups of an interface's kind,
/// or `egress`: the interfaces with a default route (Linux).
fn group_members(group: &str, interfaces: &[(String, Address)]) -> Vec<String> {
    if group == "egress" {
        let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        return table
            .lines()
            .skip(1)
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let name = words.next()?;
                (words.next()? == "00000000").then(|| name.to_owned())
            })
            .collect();
    }
    interfaces
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.trim_end_matches(|c: char| c.is_ascii_digit()) == group)
        .cloned()
        .collect()
}

impl conf::Resolver for System {
    fn host(&self, name: &str) -> Result<Vec<Address>, String> {
        let found = (name, 0u16).to_socket_addrs().map_err(|e| {
            e.to_string()
                .replace("failed to lookup address information: ", "")
        })?;
        let mut addresses: Vec<Address> = Vec::new();
        for ip in found.map(|a| Address::from(a.ip())) {
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        Ok(addresses)
    }

    fn interface(&self, name: &str) -> Option<Vec<Address>> {
        let interfaces = interface_addresses();
        let mut members = vec![name.to_owned()];
        if if_nametoindex(name).is_err() {
            members = group_members(name, &interfaces);
            if members.is_empty() {
                return None;
            }
        }
        let mut found: Vec<Address> = interfaces
            .into_iter()
            .filter(|(n, _)| members.contains(n))
            .map(|(_, a)| a)
            .collect();
        found.sort_by_key(|a| a.ip.is_ipv6());
        Some(found)
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        if_nametoindex(name).ok()
    }

    fn interfaces(&self) -> Vec<String> {
        let mut names: Vec<String> = interface_addresses().into_iter().map(|(n, _)| n).collect();
        names.sort();
        names.dedup();
        names
    }

    fn service(&self, name: &str) -> Option<u16> {
        let text = std::fs::read_to_string("/etc/services").unwrap_or_default();
        let listed = |protocol: &str| {
            text.lines().find_map(|line| {
                let line = line.split('#').next()?;
                let mut words = line.split_whitespace();
                let first = words.next()?;
                let (port, proto) = words.next()?.split_once('/')?;
                let named = first == name || words.any(|alias| alias == name);
                (named && proto == protocol).then(|| port.parse().ok())?
            })
        };
        listed("tcp")
            .or_else(|| listed("udp"))
            .or_else(|| SERVICES.iter().find(|(n, _)| *n == name).map(|(_, p)| *p))
    }

    fn ip_protocol(&self, name: &str) -> Option<u8> {
        PROTOCOLS
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, number)| *number)
    }

    fn is_local(&self, address: &Address) -> bool {
        // Linux answers for all of 127/8 without configuring each address.
        let loopback = cfg!(target_os = "linux") && address.ip.is_loopback();
        loopback
            || interface_addresses()
                .iter()
                .any(|(_, a)| a.ip == address.ip)
    }

    fn demotable(&self, group: &str) -> bool {
        // Only OpenBSD has demotion counters per group; elsewhere the group names a step or a track file.
        !cfg!(target_os = "openbsd") || self.interface(group).is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use conf::Resolver as _;

    #[test]
    fn this_system_is_known() {
        let localhost = System.host("localhost").unwrap();
        assert!(localhost.iter().all(|a| a.ip.is_loopback()));
        assert_eq!(System.service("https"), Some(443));
        assert_eq!(System.service("no-such-service"), None);
        assert_eq!(System.ip_protocol("udp"), Some(17));
        let loopback = System
            .interfaces()
            .into_iter()
            .find(|n| n.starts_with("lo"))
            .unwrap();
        assert!(System.interface_index(&loopback).is_some());
        let addresses = System.interface(&loopback).unwrap();
        assert!(addresses.iter().any(|a| a.ip.is_loopback()));
        assert!(System.is_local(addresses.first().unwrap()));
        assert!(!System.is_local(&Address::from("192.0.2.77".parse::<IpAddr>().unwrap())));
        assert_eq!(System.interface("nosuch0"), None);
    }
}
