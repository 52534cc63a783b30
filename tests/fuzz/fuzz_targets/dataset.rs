//! libFuzzer's bytes for `targets/dataset.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::dataset::run(bytes));
