//! The conformance suite on a real library, named by `MOBIEDIT_QNN_LIB`; without one nothing is run, and that is said.
#![cfg(feature = "std")]

mod common;

use std::env;

use mobiedit_backends::conformance::{self, Profile};
use mobiedit_hal_qnn::QnnConfig;

/// Sums that are no halves any more: 88,061 where the largest is 65,504.
const LEFT_OUT: [&str; 2] = [
    "Linear{format:Q8_0,treatment:A16,rows:2,inputs:11008,outputs:33,bias:false,patches:0,fill:Largest}",
    "Linear{format:Q4_0,treatment:A16,rows:2,inputs:11008,outputs:33,bias:false,patches:0,fill:Largest}",
];

#[test]
fn the_device_conforms() {
    let config = QnnConfig { rows: [64, 192].into(), ..QnnConfig::default() };
    let Some(mut device) = common::device(config) else { return };
    let profile = Profile {
        name: "QNN",
        // Halves have 13 bits less than f32; bounds grow with the number of products as roundings of f32 do.
        slack: 512.0,
        rounding: 4e-3,
        // The emulator's sigmoid is off by so much.
        floor: 8e-4,
        unsupported: &LEFT_OUT,
        most_products: usize::MAX,
    };
    let report = conformance::check(&mut device, &profile, env::var("MOBIEDIT_CASE").ok().as_deref());
    assert!(report.is_clean(), "{report}");
}
