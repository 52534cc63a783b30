//! What the prefix cache keeps does not drift in a search on the shipped model, while what is computed anew does.

use mobiedit::core::Config;
use mobiedit::host::eval::drift::drift;
use mobiedit::host::prompts::{EditPrompts, EditRequest};
use mobiedit::host::search::Search;
use mobiedit::host::session::{SessionError, SessionOptions, auto_layer, with_session};
use mobiedit::host::statistics::prefixes;

#[test]
fn the_cached_positions_do_not_drift() {
    let measure = |session: &mut mobiedit::host::session::Session<'_>| -> Result<(), SessionError> {
        let words =
            EditRequest { prompt: "The capital of {} is".into(), subject: "France".into(), target: "Rome".into() };
        let prompts = EditPrompts::new(&session.tokenizer, &words, &prefixes().take(3).collect::<Vec<_>>())?;
        assert!(prompts.prompts.iter().any(|prompt| prompt.subject_last > 0), "some positions are cached");
        let config = Config { max_steps: 12, ..Config::DEFAULT };
        let search = Search { config, layer: auto_layer(session.model.layers.len()), seed: 1 };
        let statistics = session.statistics(search.layer, |_, _| ())?;
        let drifts = drift(&mut session.transformer, &search, &prompts, statistics.lend(), 6).unwrap();
        assert!((3..=6).contains(&drifts.len()), "{drifts:?}");
        assert!(drifts.iter().all(|drift| drift.cached == 0.0), "{drifts:?}");
        assert!(drifts.last().unwrap().recomputed > 1e-3, "{drifts:?}");
        Ok(())
    };
    with_session(&SessionOptions::default(), measure).unwrap();
}
