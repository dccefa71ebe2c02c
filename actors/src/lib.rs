//! The roles of relayd and the actors in them.
//!
//! [`link`] joins the roles; [`parent`] supervises them; [`hce`], [`pfe`], [`relay`], [`ca`] and [`status`] are one
//! role each. A role is an async function over its [`link::Link`] that starts its actors and returns at shutdown,
//! so the same code runs in a process of its own and in `--single-process`.

pub mod board;
pub mod ca;
mod error;
pub mod hce;
pub mod link;
pub mod logging;
pub mod options;
pub mod panics;
pub mod parent;
pub mod pfe;
pub mod relay;
pub mod status;

pub use error::RoleError;
