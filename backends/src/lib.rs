//! What relayd does to the system: packet filter, routes, demotion, privileges.
//!
//! [`filter`] is the trait; the backends are [`userland`] (anywhere), [`recording`] (tests, previews) and
//! `nftables` (Linux). [`sys`] holds the system calls; with `nftables` it has the only `unsafe` code of the project.

pub mod filter;
pub mod nftables;
pub mod recording;
pub mod resolver;
#[cfg(target_os = "linux")]
pub mod routing;
pub mod service;
pub mod surroundings;
pub mod sys;
pub mod userland;

pub use filter::{Kind, choose, open, preview};
