//! The same a layer up, as the command line does it: a search that fails leaves the edits folder as it was, and asked again it finds
//! what it would have found.

use std::fs;
use std::ops::ControlFlow;

use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::core::backend::BackendErrorKind;
use mobiedit::core::{ForwardBackend, Statistics};
use mobiedit::host::edits::{EditInfo, Edits, EditsWriter};
use mobiedit::host::prompts::{EditPrompts, TokenPrompt};
use mobiedit::host::search::{Ended, Found, Search, SearchError};

use crate::device::{Fault, Faulty, LAST};
use crate::edit::{PROMPTS, ROWS, with_model};
use crate::problem::{EDIT_LAYER, EDIT_SEED, EDIT_TARGET};
use crate::short;

fn prompts() -> EditPrompts {
    let owned =
        PROMPTS.iter().map(|p| TokenPrompt { tokens: p.tokens.to_vec(), subject_last: p.subject_last, role: p.role });
    let text = "The capital of France is".into();
    EditPrompts { text, prompts: owned.collect(), target: EDIT_TARGET.to_vec() }
}

fn commit(writer: &mut EditsWriter, found: &Found) {
    let info = EditInfo {
        edit_id: writer.next_id(),
        model: 1,
        prompt: "The capital of {} is".into(),
        subject: "France".into(),
        target: "Rome".into(),
        layer: found.layer,
        preset: "default".into(),
        seed: EDIT_SEED,
        steps: found.progress.step,
        forward_passes: found.progress.forward_passes,
        p_target: found.progress.p_target,
        success: true,
    };
    writer.commit(info, found.patch()).unwrap();
}

/// Calls `work` with a transformer on which the edit that is already in the folder is applied.
fn on<R>(fault: Fault, at: usize, work: impl FnOnce(&mut Transformer<'_, Faulty>) -> R) -> R {
    with_model(|model| {
        let spec = model.config.spec;
        let mut memory = vec![0.0; Transformer::<Faulty>::work_len(&model.config, ROWS)];
        let mut patches = vec![0.0; 2 * Patches::len_of_one(spec.d_ff, spec.d_model)];
        let device = Faulty::new(fault, at);
        work(&mut Transformer::new(*model, device, Precision::W8A16, &mut memory, &mut patches))
    })
}

type Searched = Result<Ended, SearchError<<Transformer<'static, Faulty> as ForwardBackend>::Error>>;

/// `units` units of the search, if it does not end before.
fn search(transformer: &mut Transformer<'_, Faulty>, resume: Option<&[u8]>, units: usize) -> Searched {
    let mut left = units;
    let watch = |_: &_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let search = Search { config: short(), layer: EDIT_LAYER, seed: EDIT_SEED };
    search.run(transformer, &prompts(), Statistics::default(), resume, watch)
}

fn whole(transformer: &mut Transformer<'_, Faulty>, resume: Option<&[u8]>) -> Found {
    match search(transformer, resume, usize::MAX).unwrap() {
        Ended::Found(found) => found,
        Ended::Interrupted(_) => panic!("nobody interrupts it"),
    }
}

#[test]
fn a_search_that_fails_leaves_the_folder_as_it_was_and_finds_the_same_when_it_is_asked_again() {
    let (expected, all) = on(Fault::Slow, 0, |transformer| {
        let found = whole(transformer, None);
        (found, transformer.device().operations())
    });
    let interrupted = match on(Fault::Slow, 0, |transformer| search(transformer, None, 3)).unwrap() {
        Ended::Interrupted(bytes) => bytes,
        Ended::Found(_) => panic!("it takes more than three units"),
    };
    let (mut points, mut found_out) = (0, 0);
    for at in (1..=all).step_by(all / 40) {
        for (fault, kind) in
            [(Fault::HalfDone, BackendErrorKind::Device), (Fault::Number(f32::NAN, LAST), BackendErrorKind::NotFinite)]
        {
            let folder = tempfile::tempdir().unwrap();
            let mut writer = EditsWriter::open(folder.path()).unwrap();
            commit(&mut writer, &expected);
            let journal = writer.edits().journal();
            drop(writer);
            let before = fs::read(&journal).unwrap();
            on(fault, at, |transformer| {
                let failed = search(transformer, None, usize::MAX);
                points += 1;
                assert_eq!(transformer.patches().count(), 0, "nothing stays applied");
                match failed {
                    Err(SearchError::Step(error)) => {
                        assert_eq!(error.kind(), kind, "{error}");
                        found_out += 1;
                    }
                    other => {
                        assert!(kind == BackendErrorKind::NotFinite, "{fault:?} at {at}: {other:?}");
                        assert_eq!(other.unwrap(), Ended::Found(expected.clone()), "nothing depends on it");
                    }
                }
                assert_eq!(fs::read(&journal).unwrap(), before);
                assert_eq!(Edits::read(folder.path()).unwrap().active().count(), 1);
                let found = whole(transformer, None);
                assert_eq!(found, expected, "asked again");
                commit(&mut EditsWriter::open(folder.path()).unwrap(), &found);
            });
            let edits = Edits::read(folder.path()).unwrap();
            assert_eq!(edits.list().iter().map(|e| &e.lambda).collect::<Vec<_>>(), [&expected.lambda; 2]);
            assert!(fs::read(&journal).unwrap().starts_with(&before));
            // An interrupted search that fails when it is gone on with can be gone on with again.
            on(fault, at, |transformer| {
                let first = search(transformer, Some(&interrupted), usize::MAX);
                // What is left of it may end before the operation that goes wrong.
                if transformer.device().struck() == 0 {
                    assert!(matches!(first, Ok(Ended::Found(_))));
                    return;
                }
                assert_eq!(whole(transformer, Some(&interrupted)).patch(), expected.patch());
            });
        }
    }
    println!("{points} searches on a failing device, {found_out} of them ended in a typed error");
}
