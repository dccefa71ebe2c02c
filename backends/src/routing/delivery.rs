//! Delivery of packets for any address to this system's own sockets, as `transparent` and `forward to destination` need it.
//! Owns one rule (by mark) and one table with one local route, per address family.
//! Must never leave a second copy behind, however often it starts anew.

use super::PROTOCOL;
use super::netlink::Netlink;
use crate::nftables::relays::{MARK, PRIORITY, TABLE};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::io;

/// Families that need delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4
    pub v4: bool,
    /// IPv6
    pub v6: bool,
}

/// The rules and routes.
pub struct Delivery {
    netlink: Netlink,
}

impl Delivery {
    /// Opens the socket; nothing is changed.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> io::Result<Delivery> {
        Ok(Delivery {
            netlink: Netlink::open()?,
        })
    }

    /// Makes the kernel equal to `wanted`: what an earlier process left is kept or removed, what is missing is added.
    /// Answers how many rules and routes were added.
    ///
    /// # Errors
    /// The kernel refused a change.
    pub fn set(&mut self, wanted: Families) -> io::Result<usize> {
        let mut added = 0;
        let families = [
            (AddressFamily::Inet, wanted.v4),
            (AddressFamily::Inet6, wanted.v6),
        ];
        for (family, wanted) in families {
            added += match wanted {
                true => self.install(family)?,
                false => self.remove(family)?,
            };
        }
        Ok(added)
    }

    fn install(&mut self, family: AddressFamily) -> io::Result<usize> {
        let mut added = 0;
        // The route first: a rule that leads to an empty table leads on to the next rule.
        let route = Message::NewRoute(route(family)?);
        match self.netlink.change(route, NLM_F_CREATE | NLM_F_EXCL) {
            Ok(()) => added += 1,
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let mut found = false;
        for known in self.rules(family)? {
            if !found && is_equal(&known) {
                found = true;
                continue;
            }
            self.netlink.change(Message::DelRule(known), 0)?;
        }
        if !found {
            let rule = Message::NewRule(rule(family));
            self.netlink.change(rule, NLM_F_CREATE | NLM_F_EXCL)?;
            added += 1;
        }
        Ok(added)
    }

    fn remove(&mut self, family: AddressFamily) -> io::Result<usize> {
        for known in self.rules(family)? {
            self.netlink.change(Message::DelRule(known), 0)?;
        }
        match self.netlink.change(Message::DelRoute(route(family)?), 0) {
            Err(error) if !is_absent(&error) => Err(error),
            _ => Ok(0),
        }
    }

    /// Rules that are ours.
    fn rules(&mut self, family: AddressFamily) -> io::Result<Vec<RuleMessage>> {
        let mut request = RuleMessage::default();
        request.header.family = family;
        let mut rules = Vec::new();
        let result = self.netlink.dump(Message::GetRule(request), |message| {
            if let Message::NewRule(rule) = message
                && rule.header.family == family
                && is_ours(&rule)
            {
                rules.push(rule);
            }
        });
        match result {
            Err(error) if !is_absent(&error) => Err(error),
            _ => Ok(rules),
        }
    }
}

/// There is no such thing, or no such address family in this kernel.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ESRCH | libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT)
    )
}

fn is_ours(rule: &RuleMessage) -> bool {
    let protocol = RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL));
    rule.attributes.contains(&protocol) && rule.attributes.contains(&RuleAttribute::Table(TABLE))
}

fn is_equal(known: &RuleMessage) -> bool {
    let wanted = rule(known.header.family);
    known.header.action == wanted.header.action
        && wanted
            .attributes
            .iter()
            .all(|a| known.attributes.contains(a))
}

fn rule(family: AddressFamily) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header = RuleHeader {
        family,
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    rule.attributes = vec![
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::FwMark(MARK),
        RuleAttribute::FwMask(MARK),
        RuleAttribute::Table(TABLE),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    rule
}

/// `local default dev lo`
fn route(family: AddressFamily) -> io::Result<RouteMessage> {
    let lo = nix::net::if_::if_nametoindex("lo")?;
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family,
        protocol: RouteProtocol::Other(PROTOCOL),
        scope: match family {
            AddressFamily::Inet => RouteScope::Host,
            _ => RouteScope::Universe,
        },
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Table(TABLE), RouteAttribute::Oif(lo)];
    Ok(route)
}
