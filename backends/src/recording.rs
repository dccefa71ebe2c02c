//! The recording backend: does nothing, remembers everything.
