#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("key"), |bytes: &[u8]| mkimage_fuzz::run("key", bytes));
