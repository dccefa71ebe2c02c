//! The nftables backend: redirects at the speed of the Linux kernel.
//! Owns the description of our tables (any system can print it) and, on Linux, the code that makes the kernel equal to it.
//! Must never run a program, nor touch a table that is not its own.
//!
//! [`model`] is a table as data, [`layout`] its fixed part, [`service`] one redirect; [`slots`] chooses hosts,
//! [`numbers`] gives them their marks, [`text`] prints. `kernel` sends the same data over netlink.

pub mod dsr;
#[cfg(all(target_os = "linux", feature = "nftables"))]
pub mod kernel;
pub mod labels;
pub mod layout;
pub mod model;
pub mod numbers;
pub mod relays;
pub mod service;
pub mod slots;
pub mod text;

#[cfg(all(target_os = "linux", feature = "nftables"))]
use crate::filter::diff::Pair;
use crate::filter::{Capabilities, FilterError, Ruleset, Service, collisions, support};
use conf::model::Forward;
use labels::Labels;
use model::{Family, Fragment};
use numbers::Numbers;
use service::Context;
use std::sync::Arc;

/// The fixed part, with the objects that several services share.
pub fn base(desired: &Ruleset) -> Fragment {
    let services = desired.services.iter().map(Arc::as_ref);
    let mut base = layout::base();
    base.objects = service::timeouts(services.clone());
    let translated = |s: &Service| s.forward == Forward::Translate;
    if services.clone().any(|s| s.count_traffic && translated(s)) {
        base.chains.extend(layout::traffic_chains());
    }
    base.chains.extend(dsr::base_chains(services));
    relays::add(&mut base, &desired.relays);
    base
}

/// The sets of both tables.
pub fn sets() -> Vec<model::Set> {
    let mut sets = layout::sets();
    sets.extend(dsr::sets());
    sets
}

/// What nftables can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    route: true,
    tag: true,
    match_only: true,
    interface: true,
    log: true,
    sticky: true,
    least_states: true,
    ranges: true,
    udp: true,
    nat_lookup: true,
    needs_listeners: false,
};

/// Whether nftables can do what `desired` asks for.
///
/// # Errors
/// The first thing it cannot do, with the redirection's name.
pub fn verify(desired: &Ruleset) -> Result<(), FilterError> {
    support::check(desired, CAPABILITIES, "nftables")?;
    collisions::check(desired)?;
    relays::check(desired)?;
    desired.services.iter().try_for_each(|s| dsr::check(s))
}

/// As [`verify`], for a state that differs only in `pairs` from one that was in force; and whether the system has what
/// the changed services name.
///
/// # Errors
/// As [`verify`], and interfaces that do not exist.
#[cfg(all(target_os = "linux", feature = "nftables"))]
fn verify_change(desired: &Ruleset, pairs: &[Pair<'_>]) -> Result<(), FilterError> {
    let part = Ruleset {
        services: pairs.iter().filter_map(|p| p.after.cloned()).collect(),
        relays: Vec::new(),
    };
    support::check(&part, CAPABILITIES, "nftables")?;
    part.services.iter().try_for_each(|s| dsr::check(s))?;
    if pairs.iter().any(Pair::reshaped) {
        collisions::check(desired)?;
    }
    kernel::check_system(&part)
}

/// The rules of `desired` as `nft list` prints them, for a table that does not exist yet.
pub fn preview(table: &str, desired: &Ruleset) -> String {
    preview_with(table, desired, &mut Numbers::default(), &mut Labels::read())
}

fn preview_with(
    table: &str,
    desired: &Ruleset,
    numbers: &mut Numbers,
    labels: &mut Labels,
) -> String {
    let base = base(desired);
    let fragments: Vec<Fragment> = desired
        .services
        .iter()
        .filter_map(|s| {
            let numbered = numbers.assign(s).ok()?.clone();
            let tag = s.tag.as_ref();
            let context = Context {
                numbered,
                label: tag.and_then(|tag| labels.bit(&s.name, &tag.name).ok()),
                ..Context::default()
            };
            Some(service::fragment(s, &context))
        })
        .collect();
    let sets = sets();
    let parts: Vec<&Fragment> = std::iter::once(&base).chain(&fragments).collect();
    let families = [Family::Inet, Family::Netdev].into_iter();
    let listings = families
        .filter(|family| {
            *family == Family::Inet || dsr::needed(desired.services.iter().map(Arc::as_ref))
        })
        .map(|family| {
            let listing = text::Listing {
                family,
                name: table,
                comment: layout::COMMENT,
                sets: &sets,
                fragments: parts.clone(),
            };
            listing.to_string()
        });
    let text: String = listings.collect();
    text + &relays::routing_text(&desired.relays)
}
