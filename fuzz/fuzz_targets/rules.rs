//! Rule evaluation: see the case.
#![no_main]

#[path = "../cases/rules.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| case::run(bytes));
