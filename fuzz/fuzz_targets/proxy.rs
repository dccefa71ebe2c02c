//! PROXY headers: see the case.
#![no_main]

#[path = "../cases/proxy.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| case::run(bytes));
