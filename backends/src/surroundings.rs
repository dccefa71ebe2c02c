//! What in this system would make relays silently useless: packets for clients' addresses that never arrive.
//! Owns the look at the system's settings, and the command that cures each trouble.
//! Must never change a setting: it is the administrator's system. Runs where /proc can be read: in the parent.

use crate::filter::{Kind, Relayed};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where Linux keeps the settings of IPv4; TCP's hold for both families.
const SETTINGS: &str = "/proc/sys/net/ipv4";

/// One line for each trouble of `relays` under the packet filter `filter`.
pub fn warnings(relays: &[Relayed], filter: Kind) -> Vec<String> {
    match filter {
        Kind::Nftables => {
            let settings = Path::new(SETTINGS);
            let mut lines = martians(relays, &settings.join("conf"));
            lines.extend(marked_answers(relays, settings));
            lines
        }
        Kind::Userland => relays.iter().map(without_filter).collect(),
        Kind::Pf | Kind::Recording => Vec::new(),
    }
}

/// User space cannot lead packets here that are addressed elsewhere.
fn without_filter(relay: &Relayed) -> String {
    let what = match relay.transparent {
        true => "transparent: servers' answers to the clients' addresses come back",
        false => "forward to destination: connections to other addresses come here",
    };
    format!(
        "relay {}: {what} only by rules of your own, as the packet filter is userland; use nftables (as root or with CAP_NET_ADMIN, RELAYD_BACKEND=nftables)",
        relay.name
    )
}

fn is_on(file: &Path) -> bool {
    let value = fs::read_to_string(file).unwrap_or_default();
    !matches!(value.trim(), "" | "0")
}

/// Packets that go out with our mark are led to this system, too.
fn marked_answers(relays: &[Relayed], settings: &Path) -> Option<String> {
    let relay = relays.iter().find(|r| r.divert && !r.datagrams)?;
    is_on(&settings.join("tcp_fwmark_accept")).then(|| {
        format!(
            "relay {}: what it sends to diverted clients carries the mark of what they sent, and comes back to this system; sysctl -w net.ipv4.tcp_fwmark_accept=0",
            relay.name
        )
    })
}

/// With `src_valid_mark` the sender's address is looked up with our mark too, and every address seems to be our own.
fn martians(relays: &[Relayed], settings: &Path) -> Vec<String> {
    let Some(relay) = relays.iter().find(|r| r.listen.is_ipv4()) else {
        return Vec::new();
    };
    let on = |interface: &str, key: &str| is_on(&settings.join(interface).join(key));
    let entries = fs::read_dir(settings).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let names: BTreeSet<String> = names.filter(|n| n != "all" && n != "default").collect();
    let either = |interface: &str, key: &str| on("all", key) || on(interface, key);
    let affected = names
        .iter()
        .filter(|n| n.as_str() != "lo")
        .find(|n| either(n, "rp_filter") && either(n, "src_valid_mark"));
    let Some(interface) = affected else {
        return Vec::new();
    };
    let place = match on("all", "src_valid_mark") {
        true => "all",
        false => interface,
    };
    vec![format!(
        "relay {}: the system drops its packets on {interface} as martians (rp_filter together with src_valid_mark); sysctl -w net.ipv4.conf.{place}.src_valid_mark=0",
        relay.name
    )]
}
