//! Host check engine.
