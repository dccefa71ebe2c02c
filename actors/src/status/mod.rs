//! Metrics and status page.

pub mod names;

use crate::error::RoleError;
use crate::link::{Link, idle};
use crate::options::Options;
use std::sync::Arc;

/// Runs the role until the parent says stop or is gone.
///
/// # Errors
/// The role cannot go on; its process ends and is started again.
pub async fn run(link: Link, options: Arc<Options>) -> Result<(), RoleError> {
    let _ = options;
    idle(link).await
}
