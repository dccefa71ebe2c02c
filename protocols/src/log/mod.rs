//! Log sentences, word by word those of the original.

pub mod access;
pub mod check;
pub mod daemon;
pub mod id;
pub mod limit;
pub mod session;
pub mod table;
