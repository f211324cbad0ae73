#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("sysusers"), |bytes: &[u8]| mkimage_fuzz::run("sysusers", bytes));
