#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("delta"), |bytes: &[u8]| mkimage_fuzz::run("delta", bytes));
