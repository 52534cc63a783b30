//! The editor's bookkeeping as a state machine, against another one written from the documentation: every sequence of answers that
//! a backend can give, up to a bound. Success, patience, watching, refreshes of the cache, what is counted, what an error leaves.
//!
//! Not what δ becomes: the losses here do not depend on it.

use mobiedit_core::backend::{ForwardBackend, Loss, ModelSpec, PatchId};
use mobiedit_core::config::{Anchor, CheckedConfig, Covariance, Directions, EarlyStop, Keys, Minibatch, Stall, Watch};
use mobiedit_core::problem::{Problem, Prompt, PromptSet, Role};
use mobiedit_core::{Config, Editor, Outcome, Phase, Progress, RankOne, Statistics, StepError, f16};

use crate::model::{Failure, Memory};

const SPEC: ModelSpec = ModelSpec { d_model: 2, d_ff: 1, layers: 2, kv_dim: 1, vocab: 3, max_tokens: 4 };
const PROMPTS: [Prompt<'static>; 2] = [
    Prompt { tokens: &[1, 2], subject_last: 1, role: Role::Rewrite },
    Prompt { tokens: &[0, 1, 2], subject_last: 1, role: Role::Rewrite },
];
/// Answers that are tried in every order; what is asked behind them gets [`Answer::Miss`].
const BOUND: u32 = if cfg!(target_arch = "hexagon") { 3 } else { MOST };
const MOST: u32 = 7;

/// What a backend says when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// An error.
    Fails,
    /// A NaN, where there are numbers.
    NotANumber,
    /// The target is not said.
    Miss,
    /// It is said, with less than the aim.
    Hit,
    /// It is said as well as is aimed at.
    Aim,
}

const ANSWERS: [Answer; 5] = [Answer::Fails, Answer::NotANumber, Answer::Miss, Answer::Hit, Answer::Aim];

impl Answer {
    fn nll(self) -> f32 {
        match self {
            Self::Fails | Self::NotANumber => f32::NAN,
            Self::Miss => 3.0,
            Self::Hit => 0.5,
            Self::Aim => 0.125,
        }
    }

    fn loss(self) -> Loss {
        let hits = if matches!(self, Self::Hit | Self::Aim) { 2 } else { 0 };
        Loss { nll: self.nll(), kl: 0.0, hits, targets: 2 }
    }
}

/// Answers in their order, taken by whoever is asked.
#[derive(Clone, Debug)]
struct Script {
    answers: Vec<Answer>,
    next: usize,
}

impl Script {
    /// Sequence number `number` of all of this length.
    fn new(number: usize, length: u32) -> Self {
        let digit = |place| ANSWERS[number / ANSWERS.len().pow(place) % ANSWERS.len()];
        Self { answers: (0..length).map(digit).collect(), next: 0 }
    }

    fn answer(&mut self) -> Answer {
        self.next += 1;
        self.answers.get(self.next - 1).copied().unwrap_or(Answer::Miss)
    }

    fn succeeds(&mut self) -> Result<Answer, Failure> {
        let answer = self.answer();
        if answer == Answer::Fails { Err(Failure) } else { Ok(answer) }
    }
}

/// A backend that says what is written.
struct Actor {
    script: Script,
    patches: u32,
    /// The cache holds what a prefill put there, and no call that failed has had it since.
    filled: bool,
}

impl ForwardBackend for Actor {
    type Error = Failure;

    fn spec(&self) -> ModelSpec {
        SPEC
    }

    fn prefill(&mut self, _: &Problem<'_>, _: &mut [f32], keys: &mut [f32], value: &mut [f32]) -> Result<(), Failure> {
        let number = if self.script.succeeds()? == Answer::NotANumber { f32::NAN } else { 1.0 };
        keys.fill(1.0);
        value.fill(number);
        self.filled = true;
        Ok(())
    }

    fn losses(
        &mut self,
        _: &Problem<'_>,
        _: PromptSet,
        _: &mut [f32],
        _: &[f32],
        out: &mut [Loss],
    ) -> Result<(), Failure> {
        assert!(self.filled, "the cache may be spoilt");
        let answer = self.script.succeeds();
        self.filled = answer.is_ok_and(|answer| answer != Answer::NotANumber);
        out.fill(answer?.loss());
        Ok(())
    }

    fn evaluate(&mut self, _: &Problem<'_>) -> Result<Loss, Failure> {
        assert_eq!(self.patches, 1, "what is evaluated is the model as it will be written");
        Ok(self.script.succeeds()?.loss())
    }

    fn project(&mut self, _: usize, _: &[f32], _: &mut [f32]) -> Result<(), Failure> {
        panic!("Λ is made without W k*")
    }

    fn apply(&mut self, _: RankOne<'_>) -> Result<PatchId, Failure> {
        self.script.succeeds()?;
        self.patches += 1;
        Ok(PatchId(self.patches))
    }

    fn remove(&mut self, _: PatchId) -> Result<(), Failure> {
        self.script.succeeds()?;
        self.patches = self.patches.checked_sub(1).unwrap();
        Ok(())
    }
}

/// The cache, as the documentation tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    Empty,
    Good,
    /// To be filled again, which counts.
    Old,
    /// To be filled again, which does not count.
    Spoilt,
}

/// What a unit of work came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Did(Phase),
    Failed,
    NotFinite,
}

/// The editor again, without vectors.
#[derive(Clone, Debug)]
struct Expected {
    config: Config,
    cache: Cache,
    next: Phase,
    outcome: Option<Outcome>,
    steps: u32,
    first_test: Option<u32>,
    passes: u64,
    refreshes: u32,
    lowest: f32,
    without_a_fall: u32,
    patch_is_on: bool,
}

impl Expected {
    fn new(config: Config) -> Self {
        Self {
            config,
            cache: Cache::Empty,
            next: if config.bank { Phase::Bank } else { Phase::Search },
            outcome: None,
            steps: 0,
            first_test: None,
            passes: 0,
            refreshes: 0,
            lowest: f32::INFINITY,
            without_a_fall: 0,
            patch_is_on: false,
        }
    }

    fn step(&mut self, script: &mut Script) -> Step {
        if self.patch_is_on {
            if script.answer() == Answer::Fails {
                return Step::Failed;
            }
            self.patch_is_on = false;
        }
        match (self.cache, self.next) {
            (Cache::Good, Phase::Bank | Phase::Search) => self.losses(script),
            (Cache::Good, Phase::Verify) => self.test(script),
            (Cache::Good, _) => Step::Did(Phase::Done),
            _ => self.prefill(script),
        }
    }

    fn prefill(&mut self, script: &mut Script) -> Step {
        match script.answer() {
            Answer::Fails => return Step::Failed,
            Answer::NotANumber => return Step::NotFinite,
            _ => {}
        }
        self.refreshes += u32::from(self.cache == Cache::Old);
        self.cache = Cache::Good;
        Step::Did(Phase::Prefill)
    }

    /// A batch of starts, or a step: two candidates, all prompts.
    fn losses(&mut self, script: &mut Script) -> Step {
        let answer = script.answer();
        match answer {
            Answer::Fails => {
                self.cache = Cache::Spoilt;
                return Step::Failed;
            }
            Answer::NotANumber => {
                self.cache = Cache::Spoilt;
                return Step::NotFinite;
            }
            _ => {}
        }
        self.passes += 2;
        if self.next == Phase::Bank {
            self.next = Phase::Search;
            return Step::Did(Phase::Bank);
        }
        self.steps += 1;
        if let Some(rule) = self.config.refresh {
            if answer.nll() <= self.lowest - rule.fall {
                (self.lowest, self.without_a_fall) = (answer.nll(), 0);
            } else {
                self.without_a_fall += 1;
                if self.without_a_fall == rule.steps {
                    (self.cache, self.without_a_fall) = (Cache::Old, 0);
                }
            }
        }
        let worth_it = match self.config.early_stop.watch {
            Watch::Every(steps) => self.steps.is_multiple_of(steps),
            _ => matches!(answer, Answer::Hit | Answer::Aim),
        };
        if worth_it || self.is_over() {
            self.next = Phase::Verify;
        }
        Step::Did(Phase::Search)
    }

    fn is_over(&self) -> bool {
        let patience = self.config.early_stop.patience;
        self.steps == self.config.max_steps || self.first_test.is_some_and(|first| self.steps - first >= patience)
    }

    fn test(&mut self, script: &mut Script) -> Step {
        if script.answer() == Answer::Fails {
            return Step::Failed;
        }
        let answer = script.answer();
        if script.answer() == Answer::Fails {
            self.patch_is_on = true;
            return Step::Failed;
        }
        match answer {
            Answer::Fails => return Step::Failed,
            Answer::NotANumber => return Step::NotFinite,
            _ => {}
        }
        self.passes += 1;
        self.first_test = self.first_test.or(Some(self.steps));
        self.outcome = match answer {
            Answer::Aim => Some(Outcome::Success),
            Answer::Hit if self.is_over() => Some(Outcome::Success),
            _ if self.is_over() => Some(Outcome::Exhausted),
            _ => None,
        };
        self.next = if self.outcome.is_some() { Phase::Done } else { Phase::Search };
        Step::Did(Phase::Verify)
    }
}

fn config(watch: Watch, patience: u32, refresh: bool, bank: bool) -> Config {
    Config {
        max_steps: 3,
        directions: 1,
        kind: Directions::Rademacher,
        minibatch: Minibatch::All,
        weight_decay: 0.0,
        early_stop: EarlyStop { min_probability: 0.4, aim: 0.8, patience, watch },
        keys: Keys::Mean,
        covariance: Covariance::Identity,
        anchor: Anchor::MeanKey,
        refresh: refresh.then_some(Stall { fall: 0.25, steps: 1 }),
        bank,
        batch: 2,
        ..Config::DEFAULT
    }
}

fn kept(editor: &Editor<'_>) -> Vec<u8> {
    let mut bytes = vec![0; editor.checkpoint_len()];
    editor.checkpoint(&mut bytes).unwrap();
    bytes
}

/// Whatever an editor writes it takes again, and is then the same editor.
fn comes_back(bytes: &[u8], config: CheckedConfig, problem: Problem<'_>, statistics: Statistics<'_>, to: &mut Memory) {
    let resumed = Editor::resume(config, problem, statistics, to.lend(), bytes).unwrap();
    assert_eq!(kept(&resumed), bytes);
    assert!(resumed.patch().is_none(), "the patch of an edit that ended is there after a prefill");
}

fn all_sequences(config: Config) {
    let bank = [f16::from_f32(1.5); SPEC.d_model];
    let statistics = Statistics { bank: if config.bank { &bank } else { &[] }, ..Statistics::default() };
    let checked = config.check(&SPEC).unwrap();
    let problem = Problem::new(&SPEC, 0, &PROMPTS, &[1]).unwrap();
    let (mut memory, mut other) = (Memory::new(&checked, &problem), Memory::new(&checked, &problem));
    let (mut units, mut outcomes) = (0, [0; 2]);
    for number in 0..ANSWERS.len().pow(BOUND) {
        let script = Script::new(number, BOUND);
        let mut actor = Actor { script: script.clone(), patches: 0, filled: false };
        let mut expected = Expected::new(config);
        let mut expected_script = script.clone();
        let mut editor = Editor::new(checked, problem, statistics, 5, memory.lend()).unwrap();
        let mut before = kept(&editor);
        // So many answers can be errors; a whole edit has at most so many units.
        for _ in 0..2 * BOUND + 4 * config.max_steps + 4 {
            let result = editor.step(&mut actor);
            units += 1;
            let step = match result {
                Ok(progress) => Step::Did(progress.phase),
                Err(StepError::Backend(Failure)) => Step::Failed,
                Err(StepError::NotFinite) => Step::NotFinite,
                Err(other) => panic!("{script:?}: {other:?}"),
            };
            assert_eq!(step, expected.step(&mut expected_script), "{script:?}, {expected:?}");
            assert_eq!(actor.script.next, expected_script.next, "{script:?}: calls");
            assert_eq!(actor.patches, u32::from(expected.patch_is_on), "{script:?}: patches");
            assert_eq!(editor.patch().is_some(), expected.outcome.is_some() && expected.cache == Cache::Good);
            let after = kept(&editor);
            if after != before {
                comes_back(&after, checked, problem, statistics, &mut other);
            }
            match result {
                Ok(Progress { step, forward_passes, cache_refreshes, outcome, .. }) => {
                    let told = (step, forward_passes, cache_refreshes, outcome);
                    let (steps, passes) = (expected.steps, expected.passes);
                    assert_eq!(told, (steps, passes, expected.refreshes, expected.outcome), "{script:?}");
                }
                Err(_) => assert_eq!(after, before, "{script:?}: an error leaves no trace"),
            }
            before = after;
            if editor.patch().is_some() {
                break;
            }
        }
        let outcome = expected.outcome.unwrap_or_else(|| panic!("{script:?}: the edit never ends"));
        outcomes[usize::from(outcome == Outcome::Success)] += 1;
    }
    let of = ANSWERS.len().pow(BOUND);
    println!("{of} sequences of {BOUND} answers, {units} units; exhausted and successful: {outcomes:?}");
    // Fewer answers do not bring an edit to its success.
    let [exhausted, successful] = outcomes;
    assert!(exhausted > 0 && (successful > 0 || BOUND < MOST));
}

#[test]
fn every_sequence_of_answers_is_followed_as_documented_when_success_is_watched_for() {
    all_sequences(config(Watch::Free, 1, false, true));
}

#[test]
fn every_sequence_of_answers_is_followed_as_documented_on_a_schedule_with_refreshes() {
    all_sequences(config(Watch::Every(2), u32::MAX, true, false));
}

#[test]
fn every_sequence_of_answers_is_followed_as_documented_without_patience_and_with_refreshes() {
    all_sequences(config(Watch::Free, 0, true, false));
}
