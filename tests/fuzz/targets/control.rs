#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("control"), |bytes: &[u8]| mkimage_fuzz::run("control", bytes));
