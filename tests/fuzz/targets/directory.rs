#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("directory"), |bytes: &[u8]| mkimage_fuzz::run("directory", bytes));
