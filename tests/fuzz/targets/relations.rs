#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("relations"), |bytes: &[u8]| mkimage_fuzz::run("relations", bytes));
