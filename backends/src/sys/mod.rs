//! System calls: privileges, descriptors, sockets, signals.
//! Owns everything the daemon asks of the kernel besides ordinary sockets and files.
//! Must never decide anything: callers say what, this module says how.

pub mod check_socket;
pub mod datagrams;
pub mod demotion;
#[cfg(test)]
mod glob_oracle;
pub mod listen;
pub mod log_target;
pub mod pass;
pub mod privileges;
pub mod random;
pub mod shared;
pub mod signals;
pub mod socket_options;
