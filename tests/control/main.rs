//! The real pf update engine over an in-process link, a real control socket, and the real relayctl.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod clients;
mod engine;
mod redirects;
mod relays;
mod transcript;
