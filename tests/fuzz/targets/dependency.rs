#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("dependency"), |bytes: &[u8]| mkimage_fuzz::run("dependency", bytes));
