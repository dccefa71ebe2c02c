//! The nftables backend: redirects at the speed of the Linux kernel.
//! Owns the description of our tables (any system can print it) and, on Linux, the code that makes the kernel equal to it.
//! Must never run a program, nor touch a table that is not its own.

#[cfg(all(target_os = "linux", feature = "nftables"))]
pub mod kernel;

use crate::filter::Ruleset;

/// The rules of `desired` as `nft list` prints them.
pub fn preview(_table: &str, _desired: &Ruleset) -> String {
    String::new()
}
