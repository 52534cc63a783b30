//! An interrupted search goes on to the same bits as one that was never interrupted.

use std::ops::ControlFlow;

use mobiedit::core::Config;
use mobiedit::host::prompts::{EditPrompts, EditRequest};
use mobiedit::host::search::{Ended, Search};
use mobiedit::host::session::{SessionError, SessionOptions, auto_layer, with_session};

#[test]
fn an_interrupted_search_ends_in_the_same_bits() {
    let result = with_session(&SessionOptions::default(), |session| -> Result<(), SessionError> {
        let words =
            EditRequest { prompt: "The capital of {} is".into(), subject: "Germany".into(), target: "Madrid".into() };
        let prompts = EditPrompts::new(&session.tokenizer, &words, &["It rained all day in the valley."])?;
        let search = Search { config: Config::DEFAULT, layer: auto_layer(session.model.layers.len()), seed: 11 };
        let statistics = session.statistics(search.layer, |_, _| ())?;
        let mut run = |resume: Option<&[u8]>, units: usize| {
            let mut left = units;
            let watch = |_: &_| {
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            search.run(&mut session.transformer, &prompts, statistics.lend(), resume, watch).unwrap()
        };
        let whole = run(None, usize::MAX);
        let mut ended = run(None, 3);
        let mut interruptions = 0;
        while let Ended::Interrupted(bytes) = &ended {
            interruptions += 1;
            ended = run(Some(bytes), 3);
        }
        assert!(interruptions >= 2, "the edit is long enough to be interrupted twice");
        assert_eq!(ended, whole);
        assert!(matches!(whole, Ended::Found(found) if found.is_success()));
        Ok(())
    });
    result.unwrap();
}
