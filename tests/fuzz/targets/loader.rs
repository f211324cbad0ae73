#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("loader"), |bytes: &[u8]| mkimage_fuzz::run("loader", bytes));
