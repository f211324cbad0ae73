#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("keyring"), |bytes: &[u8]| mkimage_fuzz::run("keyring", bytes));
