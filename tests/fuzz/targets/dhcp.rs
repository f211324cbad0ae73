#![no_main]

libfuzzer_sys::fuzz_target!(init: mkimage_fuzz::plant("dhcp"), |bytes: &[u8]| mkimage_fuzz::run("dhcp", bytes));
