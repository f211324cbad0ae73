#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("volume"), |bytes: &[u8]| mkimage_fuzz::run("volume", bytes));
