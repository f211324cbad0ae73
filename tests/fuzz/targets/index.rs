#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("index"), |bytes: &[u8]| mkimage_fuzz::run("index", bytes));
