//! What is said of connections that never became sessions.
//! Owns the words of these lines.
//! Must never decide how often they are printed.

use std::net::IpAddr;

/// Connections of one client to a relay that were refused. `client` is `None` for those of several more.
pub fn refused(relay: &str, client: Option<IpAddr>, count: u64, limit: &str) -> String {
    let connections = connections(count);
    match client {
        Some(client) => format!("relay {relay}: {connections} of {client} refused: {limit}"),
        None => format!("relay {relay}: {connections} of other clients refused: {limit}"),
    }
}

fn connections(count: u64) -> String {
    match count {
        1 => "1 connection".to_owned(),
        _ => format!("{count} connections"),
    }
}

/// The same for several relays.
pub fn refused_elsewhere(count: u64) -> String {
    format!("{} to other relays refused", connections(count))
}

/// A connection that did not begin with the PROXY header its listener expects.
pub fn no_header(relay: &str, peer: IpAddr) -> String {
    format!("relay {relay}: no PROXY header from {peer}, connection closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_named() {
        let client = Some(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(
            refused("www", client, 1, "too many sessions of the client"),
            "relay www: 1 connection of 192.0.2.1 refused: too many sessions of the client"
        );
        assert_eq!(
            refused("www", None, 20, "too many sessions"),
            "relay www: 20 connections of other clients refused: too many sessions"
        );
    }
}
