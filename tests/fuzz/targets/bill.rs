#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("bill"), |bytes: &[u8]| mkimage_fuzz::run("elf", bytes));
