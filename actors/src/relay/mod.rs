//! The relay role: connections that the daemon itself passes on.
//! Owns listeners handed in by the parent, sessions, and the choice of hosts in this process.
//! Must never block its one thread, and never send a session's bytes through a mailbox.

pub mod access;
pub mod clients;
pub mod connect;
pub mod context;
pub mod counters;
pub mod dns;
pub mod flows;
pub mod forward;
pub mod generation;
pub mod http;
mod proxy_header;
pub mod queue;
pub mod refused;
pub mod registry;
pub mod relay_actor;
pub mod relays;
mod role;
pub mod seat;
pub mod session;
pub mod session_actor;
pub mod sockets;
pub mod splice;
mod statistics;
pub mod stream;
pub mod target;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod udp_actor;

pub use role::run;
