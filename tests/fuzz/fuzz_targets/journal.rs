//! libFuzzer's bytes for `targets/journal.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::journal::run(bytes));
