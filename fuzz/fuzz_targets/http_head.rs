//! HTTP heads: see the case.
#![no_main]

#[path = "../cases/http_head.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| case::run(bytes));
