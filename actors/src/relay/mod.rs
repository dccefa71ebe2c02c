//! Socket relay engine.
