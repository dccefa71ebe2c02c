//! The relay role over HTTP, with real servers and clients on the loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod connections;
mod harness;
mod messages;
mod refusals;
mod rules;
#[path = "../support/mod.rs"]
mod support;
