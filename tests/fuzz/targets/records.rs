#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("records"), |bytes: &[u8]| mkimage_fuzz::run("records", bytes));
