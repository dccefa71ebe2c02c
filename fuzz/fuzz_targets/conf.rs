//! Any bytes as relayd.conf, judged by the function that the tests of the parser use, too.
#![no_main]

#[path = "../../conf/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| support::judge(data));
