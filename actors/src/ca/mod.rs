//! Private keys: the process that will sign and decrypt for the relay processes.
//! Owns the `ca` role, one process per relay process; it has the life cycle already and knows no key yet.
//! Must never open anything: no network, no files.

use crate::error::RoleError;
use crate::link::{Link, idle};
use crate::options::Options;
use std::sync::Arc;

/// Runs the role until the parent says stop or is gone.
///
/// # Errors
/// The parent is gone while an answer is due.
pub async fn run(link: Link, _options: Arc<Options>) -> Result<(), RoleError> {
    idle(link).await
}
