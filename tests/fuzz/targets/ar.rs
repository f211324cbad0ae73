#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("ar"), |bytes: &[u8]| mkimage_fuzz::run("ar", bytes));
