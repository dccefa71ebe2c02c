//! Rules and routes of the kernel (Linux): what relays need to get packets for addresses that are not ours.
//! Owns the requests to rtnetlink and what of ours is in the kernel.
//! Must never touch a rule or route that does not carry our protocol number.

mod delivery;
mod netlink;

pub use delivery::{Delivery, Families};

/// Protocol number of our rules and routes (`proto 114` in ip(8)), by which they are known again after a crash.
pub const PROTOCOL: u8 = 114;
