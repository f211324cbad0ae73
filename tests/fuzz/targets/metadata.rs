#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("metadata"), |bytes: &[u8]| mkimage_fuzz::run("metadata", bytes));
