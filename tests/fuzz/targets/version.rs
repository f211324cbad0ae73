#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("version"), |bytes: &[u8]| mkimage_fuzz::run("version", bytes));
