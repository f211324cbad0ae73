#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("seed"), |bytes: &[u8]| mkimage_fuzz::run("seed", bytes));
