#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("pe"), |bytes: &[u8]| mkimage_fuzz::run("pe", bytes));
