//! Log sentences, word by word those of the original.

pub mod session;
