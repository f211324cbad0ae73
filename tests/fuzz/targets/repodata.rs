#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("repodata"), |bytes: &[u8]| mkimage_fuzz::run("repodata", bytes));
