//! The hce role over an in-process link, against real servers on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod checks;
mod control;
mod harness;
mod load;
#[allow(dead_code)]
#[path = "../support/segments.rs"]
mod segments;
mod tls;
