#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("origin"), |bytes: &[u8]| mkimage_fuzz::run("origin", bytes));
