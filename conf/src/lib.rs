//! relayd.conf: from text to a validated [`Config`], or to a list of every mistake in it.
//!
//! Pipeline: source files → tokens with spans → grammar → [`model`] → validation.
//! Pure: the only effects (reading files, resolving names) come in through traits.

pub mod limits;
pub mod model;

pub use model::Config;
