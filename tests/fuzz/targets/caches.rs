#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("caches"), |bytes: &[u8]| mkimage_fuzz::run("caches", bytes));
