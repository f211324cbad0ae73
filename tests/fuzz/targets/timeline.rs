#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("timeline"), |bytes: &[u8]| mkimage_fuzz::run("elf", bytes));
