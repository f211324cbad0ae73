#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("command_line"), |bytes: &[u8]| mkimage_fuzz::run("command_line", bytes));
