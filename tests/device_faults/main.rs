//! A device that goes wrong at any of its operations, in any way: the edit ends with a typed error or goes on, to the same bits.
//! Not faults of whole calls of a backend: those are in `core/tests/editor/faults.rs`.
//!
//! At every operation of an edit: an error before anything is written or after half of it is, another one at the retry, a NaN or an
//! infinity among the numbers, an answer that comes late, and one that is what was there before. `-- --nocapture` prints how many.

mod device;
mod edit;
mod host;
#[expect(unreachable_pub, reason = "the firmware's crate exports them")]
#[path = "../firmware/edit/src/problem.rs"]
mod problem;

use std::collections::BTreeMap;
use std::fmt::Debug;

use mobiedit::backends::transformer::ForwardError;
use mobiedit::core::backend::BackendErrorKind;
use mobiedit::core::config::{Anchor, EarlyStop, Normalised, Rule, Stall, Watch};
use mobiedit::core::{Config, Outcome, Phase, StepError};
use rayon::prelude::*;

use device::{Fault, LAST, Lost};
use edit::{Edit, Error, Run, with_model};

/// Not numbers.
const NUMBERS: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// An edit that succeeds after a few long steps.
fn short() -> Config {
    let Rule::Normalised(rule) = Config::DEFAULT.rule else { panic!("the default's steps are normalised") };
    Config {
        max_steps: 12,
        directions: 2,
        rule: Rule::Normalised(Normalised { length: 0.8, ..rule }),
        early_stop: EarlyStop { min_probability: 0.05, aim: 0.1, ..Config::DEFAULT.early_stop },
        ..Config::DEFAULT
    }
}

/// The published order of units, in small: a refresh of the cache after a step, tests on a schedule, W k* from the device.
fn published() -> Config {
    Config {
        max_steps: 2,
        directions: 1,
        anchor: Anchor::FirstPrompt,
        refresh: Some(Stall { fall: 1e3, steps: 1 }),
        early_stop: EarlyStop { watch: Watch::Every(1), ..Config::DEFAULT.early_stop },
        ..Config::DEFAULT
    }
}

/// A fault, and the operation where it is.
type Point = (Fault, usize);

/// Runs an edit with each of the faults that `points` makes of the run without one, and has it judged beside that run. Prints how
/// many came to what.
fn sweep<J: Debug + Send + Ord>(
    what: &str,
    config: Config,
    points: impl Fn(&Run) -> Vec<Point>,
    judge: impl Fn(&Run, &Run) -> J + Sync,
) {
    with_model(|model| {
        let edit = Edit::new(model, config);
        let whole = edit.healthy(None);
        assert!(whole.errors.is_empty());
        let points = points(&whole);
        let judge = |(fault, at): &Point| {
            let run = edit.run(*fault, *at);
            assert!(run.struck > 0, "operation {at} is one of the edit's");
            let units = run.struck_in.unwrap();
            assert_eq!(run.checkpoints[..=units], whole.checkpoints[..=units], "until then nothing is different");
            (judge(&whole, &run), (*at, *fault))
        };
        let judged: Vec<_> = points.par_iter().map(judge).collect();
        let mut counts = BTreeMap::<_, usize>::new();
        for (judgement, _) in judged {
            *counts.entry(judgement).or_default() += 1;
        }
        println!("{what}: {} fault points in {} operations, {counts:?}", points.len(), whole.operations);
    });
}

/// The fault at every operation.
fn everywhere(fault: Fault) -> impl Fn(&Run) -> Vec<Point> {
    move |whole| (1..=whole.operations).map(|at| (fault, at)).collect()
}

/// The number at every operation: at a place that differs from one to the next, and for every third at the last one, which is often
/// what is read.
fn number_everywhere(number: f32) -> impl Fn(&Run) -> Vec<Point> {
    let place = |at: usize| if at.is_multiple_of(3) { LAST } else { 7919 * at };
    move |whole| (1..=whole.operations).map(|at| (Fault::Number(number, place(at)), at)).collect()
}

fn is_lost(error: &Error) -> bool {
    matches!(error, StepError::Backend(ForwardError::Device(Lost) | ForwardError::Layer { error: Lost, .. }))
}

/// So many errors that name what went wrong, and then the bits of an edit without any.
fn recovers(errors: usize) -> impl Fn(&Run, &Run) + Sync {
    move |whole, run| {
        assert_eq!(run.errors.len(), errors, "{:?}", run.errors);
        assert!(run.errors.iter().all(is_lost), "{:?}", run.errors);
        let told = run.errors.iter().all(|error| error.to_string().matches("the device was lost").count() == 1);
        assert!(told, "{:?}", run.errors);
        assert_eq!(run.end(), whole.end());
    }
}

/// What a number that is none comes to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Number {
    Found,
    NeverRead,
}

/// Either the error says so, and the retry has the same bits; or nothing depends on it, as the bits are the same without a retry.
fn is_found_or_never_read(whole: &Run, run: &Run) -> Number {
    assert_eq!(run.end(), whole.end(), "{:?}", run.errors);
    match &run.errors[..] {
        [] => Number::NeverRead,
        [error] => {
            assert_eq!(error.kind(), BackendErrorKind::NotFinite, "{error:?}");
            Number::Found
        }
        more => panic!("one fault, {more:?}"),
    }
}

#[test]
fn whatever_operation_fails_the_edit_ends_with_the_same_bits() {
    sweep("an error, nothing written", short(), everywhere(Fault::Refused), recovers(1));
    sweep("an error, half written", short(), everywhere(Fault::HalfDone), recovers(1));
    sweep("an error, and one at the retry", short(), everywhere(Fault::Twice), recovers(2));
}

#[test]
fn an_operation_that_is_slow_changes_nothing() {
    sweep("a slow answer", short(), everywhere(Fault::Slow), recovers(0));
}

#[test]
fn a_number_that_is_not_finite_is_found_unless_nothing_depends_on_it() {
    for number in NUMBERS {
        sweep(&format!("{number} written"), short(), number_everywhere(number), is_found_or_never_read);
    }
}

/// The numbers from which the editor decides are few: each of them.
#[test]
fn whichever_number_of_a_readout_is_not_finite_it_is_found_unless_nothing_depends_on_it() {
    let every_place = |whole: &Run| {
        let places = whole.readouts.iter().flat_map(|&(at, len)| (0..len).map(move |place| (at, place)));
        let number = |at, place| NUMBERS[(at + place) % 3];
        // Of a step's many candidates one after the other, of a verification's few all.
        let some = places.filter(|(at, place)| place % 7 == at % 7 || *place < 10);
        some.map(|(at, place)| (Fault::Number(number(at, place), place), at)).collect()
    };
    sweep("a readout's number not finite", short(), every_place, is_found_or_never_read);
}

#[test]
fn with_the_published_settings_too_every_kind_of_fault_is_found_or_changes_nothing() {
    let some = |fault: fn(usize) -> Fault, first: usize| {
        move |whole: &Run| (first..=whole.operations).step_by(5).map(|at| (fault(at), at)).collect::<Vec<_>>()
    };
    sweep("published: an error, nothing written", published(), some(|_| Fault::Refused, 1), recovers(1));
    sweep("published: an error, half written", published(), some(|_| Fault::HalfDone, 2), recovers(1));
    let numbers = some(|at| Fault::Number(NUMBERS[at % 3], 7919 * at), 3);
    sweep("published: not finite", published(), numbers, is_found_or_never_read);
}

/// A fault in a unit leaves the checkpoint that was taken before it as it would have been (see `sweep`): so it is enough that each of
/// them leads to the same bits.
#[test]
fn every_checkpoint_leads_to_the_same_bits() {
    with_model(|model| {
        for config in [short(), published()] {
            let edit = Edit::new(model, config);
            let whole = edit.healthy(None);
            for checkpoint in &whole.checkpoints {
                assert_eq!(edit.healthy(Some(checkpoint)).end().0, whole.end().0);
            }
            println!("{} checkpoints of {:?}", whole.checkpoints.len(), whole.phases);
        }
    });
}

/// What a stale answer comes to. That it is wrong cannot be known: numbers of another row or step look like any others.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stale {
    /// It was not finite; a debug build sees to that where numbers are discarded. The bits after the retry are the same.
    Found,
    /// The bits are the same: nothing read it, or it was what it should be.
    NoMatter,
    /// The search went another way, and what it found is a success: the patched model says the target.
    AnotherWay,
    /// The verification saw that the patch does not do what it should.
    FoundAtTheEnd,
}

#[test]
fn a_stale_answer_never_passes_for_a_success_that_it_is_not() {
    sweep("a stale answer", short(), everywhere(Fault::Stale), |whole, run| {
        assert!(run.errors.len() <= 1, "{:?}", run.errors);
        if let Some(error) = run.errors.first() {
            assert!(!is_lost(error));
            assert_eq!(run.end(), whole.end());
            return Stale::Found;
        }
        let verified = run.last.outcome == Some(Outcome::Success);
        if whole.phases.get(run.struck_in.unwrap()) != Some(&Phase::Verify) {
            // The verification was sound: what it says of the patch is so.
            assert!(!verified || run.says_the_target());
        }
        match verified {
            true if run.end() == whole.end() => Stale::NoMatter,
            true => Stale::AnotherWay,
            false => Stale::FoundAtTheEnd,
        }
    });
}
