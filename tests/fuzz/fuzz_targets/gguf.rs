//! libFuzzer's bytes for `targets/gguf.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::gguf::run(bytes));
