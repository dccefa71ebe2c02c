//! Choice of the packet filter: by name, or the best one this system allows.
//! Owns the list of backends and the reasons why one cannot be used.
//! Must never change anything in the kernel.

use super::{FilterError, PacketFilter, Ruleset, Service};
use crate::recording::Recording;
use crate::userland::Userland;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;

/// Where the userland backend sends services: to the relay processes.
pub type Publisher = Box<dyn FnMut(Vec<Service>)>;

/// The packet filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// nftables (Linux).
    Nftables,
    /// pf through pfctl(8) (OpenBSD, FreeBSD).
    Pf,
    /// Forwarding inside the daemon.
    Userland,
    /// Nothing is done; calls are recorded.
    Recording,
}

impl Kind {
    /// The name in options and messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nftables => "nftables",
            Kind::Pf => "pf",
            Kind::Userland => "userland",
            Kind::Recording => "recording",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = FilterError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Kind::Nftables, Kind::Pf, Kind::Userland, Kind::Recording]
            .into_iter()
            .find(|k| k.name() == name)
            .ok_or_else(|| FilterError::Unavailable {
                object: format!("packet filter {name}"),
                reason: "no such packet filter".to_owned(),
                cure: "choose one of auto, nftables, pf, userland",
            })
    }
}

/// What `auto` came to.
#[derive(Debug)]
pub struct Choice {
    /// The packet filter to use.
    pub kind: Kind,
    /// Why the system's own packet filter is not used; one line for the log.
    pub why_not: Option<FilterError>,
}

/// The best packet filter this process may use now: the system's own, else `userland`.
///
/// Asks the kernel and changes nothing.
pub fn choose() -> Choice {
    match probe() {
        Ok(kind) => Choice {
            kind,
            why_not: None,
        },
        Err(why) => Choice {
            kind: Kind::Userland,
            why_not: Some(why),
        },
    }
}

#[cfg(all(target_os = "linux", feature = "nftables"))]
fn probe() -> Result<Kind, FilterError> {
    crate::nftables::kernel::probe().map(|()| Kind::Nftables)
}

#[cfg(not(all(target_os = "linux", feature = "nftables")))]
fn probe() -> Result<Kind, FilterError> {
    Err(not_built(Kind::Nftables))
}

fn not_built(kind: Kind) -> FilterError {
    FilterError::Unavailable {
        object: format!("packet filter {kind}"),
        reason: "this relayd was built without it".to_owned(),
        cure: "build with the feature of this name on a system that has it, or use the packet filter userland",
    }
}

/// What a process that never dies holds for the one that changes the packet filter, so that nobody else can change the
/// rules while that one is started again. `None` where there is no such thing.
///
/// # Errors
/// As [`open`].
pub fn handle(kind: Kind) -> Result<Option<OwnedFd>, FilterError> {
    match kind {
        #[cfg(all(target_os = "linux", feature = "nftables"))]
        Kind::Nftables => crate::nftables::kernel::handle().map(Some),
        _ => Ok(None),
    }
}

/// Opens a packet filter. `table` is the name of its table (anchor, where the system has such); `publisher` is used by
/// `userland` only; `handle` is that of [`handle`], without it the packet filter makes its own. Nothing is changed in the
/// kernel before [`PacketFilter::adopt`].
///
/// # Errors
/// The process lacks the right, or the kernel or this executable the feature.
pub fn open(
    kind: Kind,
    table: &str,
    publisher: Publisher,
    handle: Option<OwnedFd>,
) -> Result<Box<dyn PacketFilter>, FilterError> {
    match kind {
        Kind::Recording => Ok(Box::new(Recording::new())),
        Kind::Userland => Ok(Box::new(Userland::new(publisher))),
        #[cfg(all(target_os = "linux", feature = "nftables"))]
        Kind::Nftables => {
            use crate::nftables::kernel::Nftables;
            let filter = match handle {
                Some(handle) => Nftables::over(table, handle),
                None => Nftables::open(table),
            };
            Ok(Box::new(filter?))
        }
        _ => {
            let _ = (table, handle);
            Err(not_built(kind))
        }
    }
}

/// The rules of `desired` in the language of a packet filter (`relayd -n --rules`), on any system and without any right.
pub fn preview(kind: Kind, table: &str, desired: &Ruleset) -> String {
    match kind {
        Kind::Nftables => crate::nftables::preview(table, desired),
        Kind::Userland => Userland::new(Box::new(|_| ())).preview(desired),
        Kind::Recording => Recording::new().preview(desired),
        Kind::Pf => String::new(),
    }
}

/// Whether a packet filter can do what `desired` asks for, as far as that can be known without looking at a system.
///
/// # Errors
/// The first thing it cannot do, with the redirection's name.
pub fn verify(kind: Kind, desired: &Ruleset) -> Result<(), FilterError> {
    match kind {
        Kind::Userland => Userland::new(Box::new(|_| ())).verify(desired),
        Kind::Nftables => crate::nftables::verify(desired),
        Kind::Recording => Recording::new().verify(desired),
        Kind::Pf => super::collisions::check(desired),
    }
}

/// What in this system would make `desired` silently useless (forwarding off, no route …), one line for each trouble with
/// the command that cures it. Asks the kernel and changes nothing.
///
/// # Errors
/// What makes it impossible: no right, no kernel support, an interface that must be there, somebody else's table.
pub fn surroundings(
    kind: Kind,
    table: &str,
    desired: &Ruleset,
) -> Result<Vec<String>, FilterError> {
    match kind {
        #[cfg(all(target_os = "linux", feature = "nftables"))]
        Kind::Nftables => crate::nftables::kernel::surroundings(table, desired),
        _ => {
            let _ = (table, desired);
            Ok(Vec::new())
        }
    }
}

/// Names of tags that have a number in this system, for [`super::Settings::tags`].
pub fn known_tags() -> BTreeMap<String, u8> {
    crate::nftables::labels::Labels::read().into_names()
}
