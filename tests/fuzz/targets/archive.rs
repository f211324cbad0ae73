#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("archive"), |bytes: &[u8]| mkimage_fuzz::run("archive", bytes));
