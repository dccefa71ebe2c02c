//! The machines of relayd without their sockets: bytes and time in, bytes and decisions out.
//!
//! [`host`] states and check results · [`check`] the checks · [`glob`] fnmatch(3) · [`balance`] choosing a host ·
//! [`control`] imsg codec and relayctl's messages · [`http`], [`rules`], [`pattern`], [`dns`], [`proxy`] the relays' protocols ·
//! [`log`] the sentences. Nothing here touches a socket, a clock, randomness or a log.

pub mod balance;
pub mod check;
pub mod control;
pub mod dns;
pub mod glob;
pub mod host;
pub mod http;
pub mod log;
pub mod pattern;
pub mod proxy;
pub mod rules;
