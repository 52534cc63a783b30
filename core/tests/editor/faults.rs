//! A backend that fails: a typed error, no trace in the edit, and the same bits after a retry.

use mobiedit_core::backend::{BackendErrorKind, ForwardBackend, Loss, ModelSpec, PatchId};
use mobiedit_core::{Config, Editor, Phase, Problem, PromptSet, RankOne, Statistics, StepError};

use crate::model::{Edit, Failure, Memory, Model, SPEC, STRIDE, edit, finish};

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// An error, everything lent being spoilt.
    Error,
    /// Success is reported, but a number is not one.
    NotANumber,
    /// Success is reported with losses so far apart that no gradient can be made of them.
    Apart,
}

/// A model of which one call, by its number, goes wrong once.
struct Faulty {
    model: Model,
    fault: Fault,
    at: u32,
    calls: u32,
    seen: bool,
}

impl Faulty {
    fn new(fault: Fault, at: u32) -> Self {
        Self { model: Model::new(), fault, at, calls: 0, seen: false }
    }

    fn now(&mut self, spoils: &mut [&mut [f32]]) -> Result<bool, Failure> {
        self.calls += 1;
        if self.calls != self.at {
            return Ok(false);
        }
        self.seen = true;
        spoils.iter_mut().for_each(|s| s.fill(f32::NAN));
        if self.fault == Fault::Error { Err(Failure) } else { Ok(true) }
    }
}

impl ForwardBackend for Faulty {
    type Error = Failure;

    fn spec(&self) -> ModelSpec {
        SPEC
    }

    fn prefill(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), Failure> {
        if self.now(&mut [cache, keys, value])? { Ok(()) } else { self.model.prefill(problem, cache, keys, value) }
    }

    fn losses(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), Failure> {
        let mut nothing = [];
        let spoils: &mut [f32] = if self.fault == Fault::Error { cache } else { &mut nothing };
        let wrong = self.now(&mut [spoils])?;
        self.model.losses(problem, which, cache, deltas, out)?;
        match self.fault {
            Fault::NotANumber => out.last_mut().filter(|_| wrong).into_iter().for_each(|last| last.nll = f32::NAN),
            Fault::Apart if wrong => out.iter_mut().zip([3e38, -3e38].iter().cycle()).for_each(|(l, x)| l.nll = *x),
            _ => {}
        }
        Ok(())
    }

    fn evaluate(&mut self, problem: &Problem<'_>) -> Result<Loss, Failure> {
        let wrong = self.now(&mut [])?;
        let loss = self.model.evaluate(problem)?;
        Ok(if wrong { Loss { nll: f32::INFINITY, ..loss } } else { loss })
    }

    fn project(&mut self, layer: usize, key: &[f32], out: &mut [f32]) -> Result<(), Failure> {
        if self.now(&mut [out])? { Ok(()) } else { self.model.project(layer, key, out) }
    }

    fn apply(&mut self, patch: RankOne<'_>) -> Result<PatchId, Failure> {
        if self.fault == Fault::Error {
            self.now(&mut [])?;
        }
        self.model.apply(patch)
    }

    fn remove(&mut self, patch: PatchId) -> Result<(), Failure> {
        if self.fault == Fault::Error {
            self.now(&mut [])?;
        }
        self.model.remove(patch)
    }
}

#[test]
fn whichever_call_fails_the_edit_ends_with_the_same_bits() {
    for config in [Config::DEFAULT, Config { max_steps: 22, ..Config::PAPER }] {
        let reference = edit(config, 6, Statistics::default(), 3).0;
        let config = config.check(&SPEC).unwrap();
        for fault in [Fault::Error, Fault::NotANumber] {
            let mut tried = 0;
            for at in (1..).step_by(STRIDE) {
                let mut backend = Faulty::new(fault, at);
                let run = Edit::new(6).with(|problem| {
                    let mut memory = Memory::new(&config, &problem);
                    let mut editor = Editor::new(config, problem, Statistics::default(), 3, memory.lend()).unwrap();
                    let first = finish(&mut editor, &mut backend);
                    match (first, fault) {
                        (Ok(run), _) => run,
                        (Err(StepError::Backend(Failure)), Fault::Error)
                        | (Err(StepError::NotFinite), Fault::NotANumber) => finish(&mut editor, &mut backend).unwrap(),
                        (Err(other), _) => panic!("call {at}: {other:?}"),
                    }
                });
                assert_eq!(run, reference, "{fault:?} at call {at}");
                if !backend.seen {
                    break;
                }
                tried += STRIDE;
            }
            assert!(tried > 10, "{tried} calls only");
        }
    }
}

#[test]
fn the_patch_of_a_verification_that_could_not_be_removed_is_removed_by_the_next_step() {
    let config = Config { max_steps: 2, ..Config::DEFAULT }.check(&SPEC).unwrap();
    Edit::new(6).with(|problem| {
        // Calls: prefill, two steps, apply, evaluate, remove.
        let mut backend = Faulty::new(Fault::Error, 6);
        let clean = backend.model.evaluate(&problem).unwrap();
        let mut memory = Memory::new(&config, &problem);
        let mut editor = Editor::new(config, problem, Statistics::default(), 3, memory.lend()).unwrap();
        assert_eq!(finish(&mut editor, &mut backend).unwrap_err(), StepError::Backend(Failure));
        assert_ne!(backend.model.evaluate(&problem).unwrap(), clean);
        assert_eq!(editor.step(&mut backend).unwrap().phase, Phase::Verify);
        assert_eq!(backend.model.evaluate(&problem).unwrap(), clean);
    });
}

#[test]
fn losses_too_far_apart_for_a_gradient_leave_no_trace() {
    for config in [Config::DEFAULT, Config { max_steps: 22, ..Config::PAPER }] {
        let reference = edit(config, 6, Statistics::default(), 3).0;
        let config = config.check(&SPEC).unwrap();
        Edit::new(6).with(|problem| {
            // Calls: prefill, a step, the step that goes wrong.
            let mut backend = Faulty::new(Fault::Apart, 3);
            let mut memory = Memory::new(&config, &problem);
            let mut editor = Editor::new(config, problem, Statistics::default(), 3, memory.lend()).unwrap();
            assert_eq!(finish(&mut editor, &mut backend).unwrap_err(), StepError::NotFinite);
            assert!(editor.delta().iter().all(|x| x.is_finite()));
            assert_eq!(finish(&mut editor, &mut backend).unwrap(), reference);
        });
    }
}

/// A model of which the first essence prompt's key is nearly opposite to the others', and longer.
struct Opposite(Model);

impl ForwardBackend for Opposite {
    type Error = Failure;

    fn spec(&self) -> ModelSpec {
        SPEC
    }

    fn prefill(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), Failure> {
        self.0.prefill(problem, cache, keys, value)?;
        let essence = problem.rewrites().len();
        for (prompt, key) in keys.chunks_exact_mut(SPEC.d_ff).enumerate() {
            key.fill(0.0);
            (key[0], key[1]) = if prompt == essence { (-20.0, 1.0) } else { (1.0, 0.0) };
        }
        Ok(())
    }

    fn losses(
        &mut self,
        _: &Problem<'_>,
        _: PromptSet,
        _: &mut [f32],
        _: &[f32],
        _: &mut [Loss],
    ) -> Result<(), Failure> {
        panic!("nothing is searched for that could not be written")
    }

    fn evaluate(&mut self, problem: &Problem<'_>) -> Result<Loss, Failure> {
        self.0.evaluate(problem)
    }

    fn project(&mut self, layer: usize, key: &[f32], out: &mut [f32]) -> Result<(), Failure> {
        self.0.project(layer, key, out)
    }

    fn apply(&mut self, patch: RankOne<'_>) -> Result<PatchId, Failure> {
        self.0.apply(patch)
    }

    fn remove(&mut self, patch: PatchId) -> Result<(), Failure> {
        self.0.remove(patch)
    }
}

#[test]
fn keys_that_cancel_each_other_are_refused_before_the_search() {
    let config = Config::DEFAULT.check(&SPEC).unwrap();
    Edit::new(1).with(|problem| {
        let mut memory = Memory::new(&config, &problem);
        let mut editor = Editor::new(config, problem, Statistics::default(), 1, memory.lend()).unwrap();
        assert_eq!(finish(&mut editor, &mut Opposite(Model::new())).unwrap_err(), StepError::Degenerate);
    });
}

/// A model of other sizes than those that the edit was set up for.
#[test]
fn another_model_is_refused() {
    let other = ModelSpec { layers: 4, ..SPEC };
    let config = Config::DEFAULT.check(&other).unwrap();
    Edit::new(0).with(|problem| {
        let mut memory = Memory::new(&config, &problem);
        let mut editor = Editor::new(config, problem, Statistics::default(), 1, memory.lend()).unwrap();
        let error = editor.step(&mut Model::new()).unwrap_err();
        assert_eq!(error, StepError::OtherModel);
        assert_eq!(error.kind(), BackendErrorKind::Unsupported);
    });
}
