#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("program"), |bytes: &[u8]| mkimage_fuzz::run("program", bytes));
