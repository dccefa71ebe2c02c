//! Choosing a host.
