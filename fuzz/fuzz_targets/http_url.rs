//! URLs and patterns: see the case.
#![no_main]

#[path = "../cases/http_url.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| case::run(bytes));
