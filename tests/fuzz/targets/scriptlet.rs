#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("scriptlet"), |bytes: &[u8]| mkimage_fuzz::run("scriptlet", bytes));
