#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("commit"), |bytes: &[u8]| mkimage_fuzz::run("commit", bytes));
