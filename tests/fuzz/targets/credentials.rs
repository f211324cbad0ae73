#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("credentials"), |bytes: &[u8]| mkimage_fuzz::run("credentials", bytes));
