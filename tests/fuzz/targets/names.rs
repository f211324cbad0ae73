#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("names"), |bytes: &[u8]| mkimage_fuzz::run("names", bytes));
