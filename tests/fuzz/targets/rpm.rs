#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("rpm"), |bytes: &[u8]| mkimage_fuzz::run("rpm", bytes));
