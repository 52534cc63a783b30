//! A file of another editor's patches from anywhere: each patch that is read fits the model, and is finite.

use std::fs;

use mobiedit::host::eval::given::GivenPatches;

use super::moment;
use super::tiny::SPEC;

/// Reads the bytes as a file of patches.
pub fn run(bytes: &[u8]) {
    let folder = moment::folder();
    let path = folder.path().join("patches.jsonl");
    fs::write(&path, bytes).expect("a file of a moment");
    match GivenPatches::read(&path, &SPEC) {
        Ok(patches) => {
            for given in patches.of_record.values() {
                let patch = given.patch();
                assert!(patch.layer < SPEC.layers);
                assert_eq!((patch.u.len(), patch.lambda.len()), (SPEC.d_ff, SPEC.d_model));
                assert!(patch.u.iter().chain(patch.lambda).all(|x| x.is_finite()));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Sound lines and broken ones.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let line = |record: usize, layer: usize, first: &str| {
        format!(
            "{{\"record\": {record}, \"layer\": {layer}, \"u\": [{first}, 1, -2.5e-3, 0, 0.1, 7], \"lambda\": [1, 2, 3, 4, \
             5, 6, 7, 8], \"steps\": 3}}\n"
        )
    };
    vec![
        ("two", [line(0, 1, "1"), "\n".to_owned(), line(9, 2, "-0.0")].concat().into()),
        ("twice", [line(4, 0, "1"), line(4, 0, "1")].concat().into()),
        ("too-large", line(0, 0, "1e39").into()),
        ("no-layer", line(0, u32::MAX as usize, "1").into()),
        ("negative", line(0, 1, "1").replace("\"record\": 0", "\"record\": -1").into()),
        ("cut-off", line(0, 1, "1").into_bytes()[..40].to_vec()),
    ]
}
