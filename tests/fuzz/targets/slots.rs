#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("slots"), |bytes: &[u8]| mkimage_fuzz::run("slots", bytes));
