//! libFuzzer's bytes for `targets/adapter.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::adapter::run(bytes));
