//! libFuzzer's bytes for `targets/ops.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::ops::run(bytes));
