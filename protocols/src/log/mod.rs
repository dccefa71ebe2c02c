//! Log sentences, word by word those of the original.

pub mod check;
pub mod daemon;
pub mod session;
pub mod table;
