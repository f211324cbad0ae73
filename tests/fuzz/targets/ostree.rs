#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("ostree"), |bytes: &[u8]| mkimage_fuzz::run("ostree", bytes));
