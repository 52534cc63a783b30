//! The shipped model's logits against PyTorch's, which the training script saved: equal in float, the same argmax in W8A16.

use std::fs;
use std::path::Path;

use mobiedit::backends::generate::{Sequence, argmax};
use mobiedit::core::ForwardBackend;
use mobiedit::host::session::{Activations, Session, SessionError, SessionOptions, with_session};
use serde_json::Value;

/// Largest difference of a logit in float.
const BOUND: f64 = 1e-3;
/// Logits that were saved: every 61st.
const STRIDE: usize = 61;

fn golden() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    golden["rows"].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> impl Iterator<Item = f64> {
    value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap())
}

/// Feeds a golden row's prompt token by token; `check` sees each position's logits and what was saved of them.
fn compare(session: &mut Session<'_>, row: &Value, mut check: impl FnMut(&[f32], &Value, u32)) {
    let ids = session.tokenizer.encode(row["prompt"].as_str().unwrap()).unwrap().ids;
    assert!(numbers(&row["ids"]).eq(ids.iter().map(|id| f64::from(*id))), "{row}");
    let mut memory = vec![0.0; Sequence::memory_len(&session.transformer.spec(), ids.len())];
    let mut sequence = Sequence::new(ids.len(), &mut memory);
    let saved = row["every_61st"].as_array().unwrap();
    assert_eq!(saved.len(), ids.len());
    let saved = saved.iter().zip(numbers(&row["argmax"]));
    for (id, (logits, best)) in ids.iter().zip(saved) {
        check(session.transformer.feed(&mut sequence, &[*id]).unwrap(), logits, best as u32);
    }
}

fn on_the_shipped_model(float: bool, check: impl Fn(&[f32], &Value, u32) + Sync) {
    let activations = if float { Activations::Float } else { Activations::Dynamic };
    let options = SessionOptions { activations, ..SessionOptions::default() };
    let done = with_session(&options, |session| -> Result<(), SessionError> {
        let rows = golden();
        assert!(rows.len() >= 4);
        rows.iter().for_each(|row| compare(session, row, &check));
        Ok(())
    });
    done.unwrap();
}

#[test]
fn float_logits_are_pytorchs() {
    on_the_shipped_model(true, |logits, saved, best| {
        for (ours, theirs) in logits.iter().step_by(STRIDE).zip(numbers(saved)) {
            assert!((f64::from(*ours) - theirs).abs() < BOUND, "{ours} instead of {theirs}");
        }
        assert_eq!(argmax(logits), best);
    });
}

#[test]
fn w8a16_has_the_same_argmax() {
    on_the_shipped_model(false, |logits, _, best| assert_eq!(argmax(logits), best));
}
