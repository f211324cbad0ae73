#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("verity"), |bytes: &[u8]| mkimage_fuzz::run("verity", bytes));
