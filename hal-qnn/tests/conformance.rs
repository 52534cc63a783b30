//! The conformance suite on a real library, named by `MOBIEDIT_QNN_LIB`; without one nothing is run, and that is said.
#![cfg(feature = "std")]

mod common;

use std::env;

use mobiedit_backends::conformance::{self, Profile};
use mobiedit_hal_qnn::QnnConfig;

/// What is not asked of this device.
const LEFT_OUT: [&str; 9] = [
    // Sums that are no halves any more: 88,061 where the largest is 65,504.
    "Linear{format:Q8_0,treatment:A16,rows:2,inputs:11008,outputs:33,bias:false,patches:0,fill:Largest}",
    "Linear{format:Q4_0,treatment:A16,rows:2,inputs:11008,outputs:33,bias:false,patches:0,fill:Largest}",
    // 192 rows at once, where its graphs have 64: it says so, and batches are split.
    "Attention{heads:4,kv_heads:4,head_dim:32,copies:3,cache_layer:2,segments:[(17,64)]}",
    "Attention{heads:8,kv_heads:2,head_dim:32,copies:3,cache_layer:2,segments:[(17,64)]}",
    "Attention{heads:4,kv_heads:1,head_dim:64,copies:3,cache_layer:2,segments:[(17,64)]}",
    "Attention{heads:6,kv_heads:3,head_dim:10,copies:3,cache_layer:2,segments:[(17,64)]}",
    // The tails of the emulator's sigmoid: 0.0028 instead of 0.0013.
    "SwiGlu{len:500,stretch:5}",
    "SwiGlu{len:500,stretch:40}",
    // The larger of two logits that int8 weights with one scale per output do not tell apart.
    "Readout{format:Q8_0,treatment:A16,copies:16,",
];

#[test]
fn the_device_conforms() {
    let config = QnnConfig { rows: [64].into(), ..QnnConfig::default() };
    let Some(mut device) = common::device(config) else { return };
    let profile = Profile {
        name: "QNN",
        // Halves have 13 bits less than f32; bounds grow with the number of products as roundings of f32 do.
        slack: 1024.0,
        rounding: 4e-3,
        // What the emulator's sigmoid makes of numbers of normal size is off by less.
        floor: 8e-4,
        unsupported: &LEFT_OUT,
        most_products: usize::MAX,
    };
    let report = conformance::check(&mut device, &profile, env::var("MOBIEDIT_CASE").ok().as_deref());
    assert!(report.is_clean(), "{report}");
}
