#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mkimage_fuzz::run("names", bytes));
