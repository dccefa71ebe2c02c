//! Two redirects for the same packets: refused before anything is applied, since the packet filter could only serve one.
//! Owns the comparison of virtual addresses.
//! Must never guess which of the two was meant.

use super::{FilterError, Ruleset};
use conf::model::VirtualAddress;
use std::collections::HashMap;
use std::net::IpAddr;

/// Finds the first two services that want the same address, protocol and port.
///
/// # Errors
/// Names both.
pub fn check(desired: &Ruleset) -> Result<(), FilterError> {
    type Place = (IpAddr, u8, Option<String>);
    let mut taken: HashMap<Place, Vec<(&VirtualAddress, &str)>> = HashMap::new();
    for service in &desired.services {
        for listener in &service.listeners {
            let place = (
                listener.address.ip,
                listener.ip_protocol,
                listener.interface.clone(),
            );
            let others = taken.entry(place).or_default();
            let clash = others
                .iter()
                .find(|(o, _)| o.port <= listener.port_end && listener.port <= o.port_end);
            if let Some((_, name)) = clash {
                let at = listener.address.with_port(listener.port);
                return Err(FilterError::Unavailable {
                    object: format!("redirect {}", service.name),
                    reason: format!("{at} already belongs to redirect {name}"),
                    cure: "give one of them another address, port, protocol or interface",
                });
            }
            others.push((listener, &service.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )]
    use super::super::testing::{listener, service};
    use super::*;
    use std::sync::Arc;

    #[test]
    fn overlapping_ports_are_refused_with_both_names() {
        let mut services = vec![service("www", 1), service("dns", 1)];
        services[1].listeners = vec![listener("192.0.2.1", 70)];
        let mut desired: Ruleset = services.into_iter().collect();
        assert!(check(&desired).is_ok());
        Arc::make_mut(&mut desired.services[1]).listeners[0].port_end = 90;
        assert_eq!(
            check(&desired).unwrap_err().to_string(),
            "redirect dns: 192.0.2.1:70 already belongs to redirect www; give one of them another address, port, protocol or interface"
        );
        Arc::make_mut(&mut desired.services[1]).listeners[0].ip_protocol = 17;
        assert!(check(&desired).is_ok());
    }
}
