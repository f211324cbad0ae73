#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("inrelease"), |bytes: &[u8]| mkimage_fuzz::run("inrelease", bytes));
