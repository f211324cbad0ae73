#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("store_lines"), |bytes: &[u8]| mkimage_fuzz::run("store_lines", bytes));
