//! libFuzzer's bytes for `targets/tokenizer.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::tokenizer::run(bytes));
