//! Log sentences, word by word those of the original.
