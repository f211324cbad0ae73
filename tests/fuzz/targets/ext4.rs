#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("ext4"), |bytes: &[u8]| mkimage_fuzz::run("ext4", bytes));
