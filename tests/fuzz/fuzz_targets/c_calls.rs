//! libFuzzer's bytes for `targets/c_calls.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::c_calls::run(bytes));
