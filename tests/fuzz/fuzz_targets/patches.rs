//! libFuzzer's bytes for `targets/patches.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::patches::run(bytes));
