#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("script"), |bytes: &[u8]| mkimage_fuzz::run("script", bytes));
