#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("patch"), |bytes: &[u8]| mkimage_fuzz::run("patch", bytes));
