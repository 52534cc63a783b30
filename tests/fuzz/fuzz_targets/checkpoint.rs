//! libFuzzer's bytes for `targets/checkpoint.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::checkpoint::run(bytes));
