#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("sources"), |bytes: &[u8]| mkimage_fuzz::run("sources", bytes));
