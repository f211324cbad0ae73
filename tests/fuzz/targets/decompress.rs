#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("decompress"), |bytes: &[u8]| mkimage_fuzz::run("decompress", bytes));
