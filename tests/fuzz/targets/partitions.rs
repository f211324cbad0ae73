#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("partitions"), |bytes: &[u8]| mkimage_fuzz::run("partitions", bytes));
