#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("lock"), |bytes: &[u8]| mkimage_fuzz::run("lock", bytes));
