//! HTTP bodies: see the case.
#![no_main]

#[path = "../cases/http_body.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| case::run(bytes));
