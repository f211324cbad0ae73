#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("site"), |bytes: &[u8]| mkimage_fuzz::run("site", bytes));
