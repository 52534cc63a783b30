//! Causal tracing against PyTorch's on the same noise, and against what must hold whatever the model is.

use std::fs;
use std::ops::Range;
use std::path::Path;

use mobiedit::backends::trace::{State, Trace, Traced};
use mobiedit::core::ForwardBackend;
use mobiedit::host::session::{Activations, Session, SessionError, SessionOptions, with_session};
use mobiedit::host::trace::{CausalTrace, TraceRequest, trace};
use serde_json::Value;

/// Largest difference of a probability in float.
const BOUND: f64 = 1e-3;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden_trace.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
}

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// The golden prompt, with its noise times `noise`, on the shipped model.
fn on_the_golden_prompt(float: bool, memory_limit: Option<usize>, noise: f32, check: impl Fn(Traces<'_, '_>) + Sync) {
    let activations = if float { Activations::Float } else { Activations::Dynamic };
    let options = SessionOptions { activations, memory_limit, ..SessionOptions::default() };
    let done = with_session(&options, |session| -> Result<(), SessionError> {
        let golden = golden();
        let tokens: Vec<u32> = numbers(&golden["ids"]).iter().map(|id| *id as u32).collect();
        assert_eq!(session.tokenizer.encode(golden["prompt"].as_str().unwrap())?.ids, tokens);
        let numbers: Vec<f32> = numbers(&golden["noise"]).iter().map(|x| *x as f32 * noise).collect();
        let traced = Traced {
            tokens: &tokens,
            first: whole(&golden["first"]),
            count: whole(&golden["count"]),
            noise: &numbers,
            answer: whole(&golden["answer"]) as u32,
        };
        let spec = session.transformer.spec();
        let mut memory = vec![0.0; Trace::memory_len(&spec, tokens.len(), whole(&golden["samples"]))];
        let runs = session.transformer.trace(traced, &mut memory)?;
        check(Traces { session, runs, golden: &golden, tokens: tokens.len(), layers: spec.layers });
        Ok(())
    });
    done.unwrap();
}

struct Traces<'t, 'm> {
    session: &'t mut Session<'m>,
    runs: Trace<'t>,
    golden: &'t Value,
    tokens: usize,
    layers: usize,
}

impl Traces<'_, '_> {
    /// P(answer) of each sample with these states put back.
    fn restore(&mut self, state: State, layers: Range<usize>, spot: Range<usize>) -> Vec<f32> {
        let mut out = vec![0.0; self.runs.samples()];
        self.session.transformer.restore(&mut self.runs, state, layers, std::slice::from_ref(&spot), &mut out).unwrap();
        out
    }

    fn corrupted(&mut self) -> Vec<f32> {
        self.restore(State::Hidden, 0..0, 0..0)
    }

    /// Mean P(answer), a row per layer and a column per token.
    fn table(&mut self, state: State, window: usize) -> Vec<Vec<f64>> {
        let spots: Vec<Range<usize>> = (0..self.tokens).map(|t| t..t + 1).collect();
        let mut of_layer = |layer: usize| {
            let layers = layer.saturating_sub(window / 2)..self.layers.min(layer + window.div_ceil(2));
            let mut out = vec![0.0; spots.len() * self.runs.samples()];
            self.session.transformer.restore(&mut self.runs, state, layers, &spots, &mut out).unwrap();
            out.chunks(self.runs.samples()).map(mean).collect()
        };
        (0..self.layers).map(&mut of_layer).collect()
    }
}

fn mean(of: &[f32]) -> f64 {
    of.iter().map(|p| f64::from(*p)).sum::<f64>() / of.len() as f64
}

fn close(ours: &[Vec<f64>], theirs: &Value, what: &str) {
    let theirs: Vec<Vec<f64>> = theirs.as_array().unwrap().iter().map(numbers).collect();
    assert_eq!(ours.len(), theirs.len());
    for (layer, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours.len(), theirs.len());
        for (token, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            assert!((ours - theirs).abs() < BOUND, "{what}, layer {layer}, token {token}: {ours} instead of {theirs}");
        }
    }
}

#[test]
fn float_tables_are_pytorchs() {
    on_the_golden_prompt(true, None, 1.0, |mut traces| {
        let golden = traces.golden;
        let (clean, corrupted) = (golden["clean"].as_f64().unwrap(), golden["corrupted"].as_f64().unwrap());
        assert!(clean - corrupted > 0.1, "the golden noise takes too little for a comparison to show anything");
        assert!((f64::from(traces.runs.clean()) - clean).abs() < BOUND);
        assert!((mean(&traces.corrupted()) - corrupted).abs() < BOUND);
        close(&traces.table(State::Hidden, 1), &golden["hidden"], "hidden states");
        close(&traces.table(State::Mlp, 1), &golden["mlp"], "MLPs");
        close(&traces.table(State::Mlp, whole(&golden["window"])), &golden["mlp_window"], "windows of MLPs");
    });
}

#[test]
fn what_must_hold_of_any_trace_holds_to_the_last_bit() {
    on_the_golden_prompt(false, None, 1.0, |mut traces| {
        let (layers, tokens, clean) = (traces.layers, traces.tokens, traces.runs.clean());
        let corrupted = traces.corrupted();
        assert!(corrupted.iter().all(|p| *p != clean), "the noise changes nothing");
        // All states, those after one layer, and the last one at the last token: each leaves nothing of the noise.
        for (layers, spot) in [(0..layers, 0..tokens), (3..4, 0..tokens), (layers - 1..layers, tokens - 1..tokens)] {
            assert!(traces.restore(State::Hidden, layers, spot).iter().all(|p| *p == clean));
        }
        // Nothing, at whatever layer that is done; and tokens before the noise, which it has not reached.
        assert_eq!(traces.restore(State::Hidden, 5..5, 0..0), corrupted);
        assert_eq!(traces.restore(State::Mlp, 2..6, 0..0), corrupted);
        let before = 0..whole(&traces.golden["first"]);
        assert!(!before.is_empty());
        assert_eq!(traces.restore(State::Mlp, 0..layers, before.clone()), corrupted);
        assert_eq!(traces.restore(State::Hidden, 0..layers, before), corrupted);
    });
}

#[test]
fn noise_of_nothing_takes_nothing_and_nothing_is_given_back() {
    on_the_golden_prompt(false, None, 0.0, |mut traces| {
        let clean = f64::from(traces.runs.clean());
        for state in [State::Hidden, State::Mlp] {
            assert!(traces.table(state, 2).iter().flatten().all(|p| *p == clean));
        }
    });
}

#[test]
fn memory_for_fewer_runs_at_once_gives_the_same_bits() {
    let tables = |limit| {
        let out = std::sync::Mutex::new(Vec::new());
        on_the_golden_prompt(false, limit, 1.0, |mut traces| {
            *out.lock().unwrap() = [traces.table(State::Hidden, 1), traces.table(State::Mlp, 3)].concat();
        });
        out.into_inner().unwrap()
    };
    // 300 KB are 27 rows: 3 runs at a time instead of all.
    assert_eq!(tables(Some(300_000)), tables(None));
}

fn traced(prompt: &str, subject: &str, seed: u64) -> CausalTrace {
    let (prompt, subject) = (prompt.to_owned(), subject.to_owned());
    let request = TraceRequest { prompt, subject, target: None, samples: 4, seed, window: None };
    with_session(&SessionOptions::default(), |session| trace(session, &request, |_, _| {})).unwrap()
}

#[test]
fn a_fact_lies_early_at_the_subjects_last_token_and_late_at_the_last_one() {
    let found = traced("The capital of {} is", "France", 1);
    assert_eq!((found.answer.as_str(), found.subject.clone()), (" Paris", 3..4));
    assert!(found.p_clean > 0.9 && found.total_effect() > 0.5, "{found:?}");
    let total = found.total_effect();
    assert!(found.hidden[0][3] > 0.8 * total && found.hidden[7][3].abs() < 1e-6, "{:?}", found.hidden);
    assert!(found.hidden[0][4] < 0.5 * total && (found.hidden[7][4] - total).abs() < 1e-6, "{:?}", found.hidden);
    // What stands before the subject has seen nothing of the noise.
    for table in [&found.hidden, &found.mlp] {
        assert!(table.iter().all(|of_layer| of_layer[..3].iter().all(|effect| *effect == 0.0)));
    }
    assert!(found.layer().0 < 4 && found.layer().1 > 0.1, "{:?}", found.mlp);
    assert_eq!(found, traced("The capital of {} is", "France", 1));
    assert_ne!(found.p_corrupted, traced("The capital of {} is", "France", 2).p_corrupted);
}
