//! Frames and requests of the control socket: see the case.
#![no_main]

#[path = "../cases/control.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| case::run(bytes));
