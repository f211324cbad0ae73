#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("pack"), |bytes: &[u8]| mkimage_fuzz::run("pack", bytes));
