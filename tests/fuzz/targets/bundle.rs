#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("bundle"), |bytes: &[u8]| mkimage_fuzz::run("bundle", bytes));
