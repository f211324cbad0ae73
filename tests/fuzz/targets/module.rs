#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("module"), |bytes: &[u8]| mkimage_fuzz::run("module", bytes));
