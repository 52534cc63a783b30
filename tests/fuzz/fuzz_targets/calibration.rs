//! libFuzzer's bytes for `targets/calibration.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobiedit_fuzz::calibration::run(bytes));
