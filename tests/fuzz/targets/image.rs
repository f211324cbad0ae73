#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("image"), |bytes: &[u8]| mkimage_fuzz::run("image", bytes));
