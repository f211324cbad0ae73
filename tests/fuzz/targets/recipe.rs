#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("recipe"), |bytes: &[u8]| mkimage_fuzz::run("recipe", bytes));
