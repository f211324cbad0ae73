#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("deb"), |bytes: &[u8]| mkimage_fuzz::run("deb", bytes));
