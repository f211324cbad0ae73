#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("envelope"), |bytes: &[u8]| mkimage_fuzz::run("envelope", bytes));
