#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("unit"), |bytes: &[u8]| mkimage_fuzz::run("unit", bytes));
