//! Bits of the `flags` fields on the control socket.
//! Owns the numbers of `relayd.h` that other programs may see.
//! Must never carry a meaning of our own: additions go into the JSON extension.

/// Switched off in the file or by hand.
pub const DISABLE: u32 = 0x0000_0001;
/// The backup table serves.
pub const BACKUP: u32 = 0x0000_0002;
/// In use.
pub const USED: u32 = 0x0000_0004;
/// No usable host.
pub const DOWN: u32 = 0x0000_0008;
/// `sticky-address`
pub const STICKY: u32 = 0x0000_0080;
/// Rules are installed.
pub const ACTIVE_RULESET: u32 = 0x0000_0200;
/// The listener speaks TLS.
pub const TLS: u32 = 0x0000_0800;
/// `demote`
pub const DEMOTE: u32 = 0x0000_2000;
/// TLS towards the server.
pub const TLS_CLIENT: u32 = 0x0020_0000;
