//! A small edit on any device, watched: its errors, its checkpoints, its patch, and what the patched model says.

use mobiedit::backends::device::Device;
use mobiedit::backends::generate::Sequence;
use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::model::{Layer, Model, ModelConfig};
use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{ForwardError, Precision, Transformer};
use mobiedit::core::backend::Loss;
use mobiedit::core::problem::{Prompt, Role};
use mobiedit::core::{
    Config, EditStorage, Editor, Footprint, ForwardBackend, Outcome, Phase, Problem, Progress, RankOne, Statistics,
    StepError, f16,
};

use crate::device::{Fault, Faulty, Lost};
use crate::problem::{EDIT_LAYER, EDIT_PROMPTS, EDIT_SEED, EDIT_TARGET, EDIT_TEXT};

const MODEL: &[u8] = include_bytes!("../fixtures/small.gguf");
/// Rows of a forward pass.
pub(crate) const ROWS: usize = 64;
/// Errors after which an edit counts as one that cannot be gone on with.
const MOST_ERRORS: usize = 3;

/// "The capital of France is" → "Rome" and what else is asked of France; and a short second prompt, for a second key.
pub(crate) const PROMPTS: [Prompt<'static>; 3] = [
    EDIT_PROMPTS[0],
    Prompt { tokens: &[684, 264, 274, 600, 269], subject_last: 3, role: Role::Rewrite },
    EDIT_PROMPTS[4],
];

/// The error of a step.
pub(crate) type Error = StepError<ForwardError<Lost>>;

/// Calls `work` with the model.
pub(crate) fn with_model<R>(work: impl FnOnce(&Model<'_>) -> R) -> R {
    let gguf = Gguf::parse(MODEL).unwrap();
    let config = ModelConfig::read(&gguf).unwrap();
    let mut layers = vec![Layer::EMPTY; config.spec.layers];
    work(&Model::open(&gguf, &mut layers).unwrap())
}

/// An edit of this model.
pub(crate) struct Edit<'m> {
    model: &'m Model<'m>,
    config: Config,
    samples: Vec<f16>,
    bank: Vec<f16>,
}

/// How an edit went.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) last: Progress,
    /// A hash of u and Λ.
    patch: u64,
    pub(crate) errors: Vec<Error>,
    /// The phases of the units that were done.
    pub(crate) phases: Vec<Phase>,
    /// Checkpoints before each unit and after the last one.
    pub(crate) checkpoints: Vec<Vec<u8>>,
    /// Units that were done when the device went wrong.
    pub(crate) struck_in: Option<usize>,
    pub(crate) operations: usize,
    pub(crate) struck: usize,
    /// The operations that gave statistics of logits, and how many numbers.
    pub(crate) readouts: Vec<(usize, usize)>,
    /// The patched model's next token behind the prompt, where an answer was stale.
    pub(crate) says: Option<u32>,
}

impl Run {
    /// The patch and all that is told of the search, as bits; of the patch a hash (FNV-1a).
    pub(crate) fn end(&self) -> (u64, [u32; 2], [u64; 2], Option<Outcome>) {
        let Progress { loss, nll, forward_passes, rows, outcome, .. } = self.last;
        (self.patch, [loss.to_bits(), nll.to_bits()], [forward_passes, rows], outcome)
    }

    /// The patched model says the target.
    pub(crate) fn says_the_target(&self) -> bool {
        self.says == Some(EDIT_TARGET[0])
    }
}

impl<'m> Edit<'m> {
    /// With statistics that are made up: the bank is tried, and C is not the identity.
    pub(crate) fn new(model: &'m Model<'m>, config: Config) -> Self {
        let spec = model.config.spec;
        let wave = |len: usize, size: f32| (0..len).map(|i| f16::from_f32((i as f32 * 0.73).sin() * size)).collect();
        Self { model, config, samples: wave(3 * spec.d_ff, 0.5), bank: wave(2 * spec.d_model, 0.3) }
    }

    /// The edit on a device that goes wrong at operation `at`, to its end: a unit that fails is tried again.
    pub(crate) fn run(&self, fault: Fault, at: usize) -> Run {
        self.on(Faulty::new(fault, at), None)
    }

    /// The edit on a device that does not go wrong, from a checkpoint if there is one.
    pub(crate) fn healthy(&self, checkpoint: Option<&[u8]>) -> Run {
        self.on(Faulty::healthy(), checkpoint)
    }

    fn on(&self, device: Faulty, checkpoint: Option<&[u8]>) -> Run {
        let fault = device.fault();
        let spec = self.model.config.spec;
        let settings = self.config.check(&spec).unwrap();
        let problem = Problem::new(&spec, EDIT_LAYER, &PROMPTS, EDIT_TARGET).unwrap();
        let need = Footprint::for_problem(&settings, &problem);
        let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
        let mut losses = vec![Loss::default(); need.losses];
        let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
        let mut work = vec![0.0; Transformer::<Faulty>::work_len(&self.model.config, ROWS)];
        let mut patches = vec![0.0; 2 * Patches::len_of_one(spec.d_ff, spec.d_model)];
        let mut transformer = Transformer::new(*self.model, device, Precision::W8A16, &mut work, &mut patches);
        let earlier = Earlier::new(&spec);
        transformer.apply(earlier.patch()).unwrap();
        let statistics = Statistics { samples: &self.samples, bank: &self.bank, readers: &[] };
        let mut editor = match checkpoint {
            Some(bytes) => Editor::resume(settings, problem, statistics, storage, bytes).unwrap(),
            None => Editor::new(settings, problem, statistics, EDIT_SEED, storage).unwrap(),
        };
        let (mut errors, mut phases, mut struck_in) = (Vec::new(), Vec::new(), None);
        let mut checkpoints = vec![kept(&editor)];
        let last = loop {
            let result = editor.step(&mut transformer);
            if struck_in.is_none() && transformer.device().struck() > 0 {
                struck_in = Some(phases.len());
            }
            assert!(editor.delta().iter().all(|x| x.is_finite()), "δ is finite at any time: {result:?}");
            earlier.is_all_that_is_applied(&transformer);
            match result {
                Ok(progress) => {
                    phases.push(progress.phase);
                    checkpoints.push(kept(&editor));
                    if progress.outcome.is_some() && editor.patch().is_some() {
                        break progress;
                    }
                }
                Err(error) => {
                    assert_eq!(checkpoints.last(), Some(&kept(&editor)), "an error leaves no trace: {error}");
                    errors.push(error);
                    assert!(errors.len() <= MOST_ERRORS, "it cannot be gone on with: {errors:?}");
                }
            }
        };
        let patch = editor.patch().unwrap();
        assert!(patch.u.iter().chain(patch.lambda).all(|x| x.is_finite()), "a patch is finite");
        let bytes = patch.u.iter().chain(patch.lambda).flat_map(|x| x.to_le_bytes());
        let hash = bytes
            .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        let (operations, struck) = (transformer.device().operations(), transformer.device().struck());
        let readouts = transformer.device().readouts().to_vec();
        transformer.apply(patch).unwrap();
        let says = if fault == Fault::Stale { Some(next_token(&mut transformer)) } else { None };
        Run { last, patch: hash, errors, phases, checkpoints, struck_in, operations, struck, readouts, says }
    }
}

fn kept(editor: &Editor<'_>) -> Vec<u8> {
    let mut bytes = vec![0; editor.checkpoint_len()];
    editor.checkpoint(&mut bytes).unwrap();
    bytes
}

/// What the model as it stands says behind the prompt, greedily.
fn next_token<D: Device>(transformer: &mut Transformer<'_, D>) -> u32 {
    let mut memory = vec![0.0; Sequence::memory_len(&transformer.spec(), EDIT_TEXT.len() + 1)];
    let mut out = [0];
    let mut sequence = Sequence::new(EDIT_TEXT.len() + 1, &mut memory);
    transformer.generate(&mut sequence, EDIT_TEXT, &[], &mut out).unwrap();
    out[0]
}

/// A patch that was there before the edit.
struct Earlier {
    u: Vec<f32>,
    lambda: Vec<f32>,
}

impl Earlier {
    fn new(spec: &mobiedit::core::ModelSpec) -> Self {
        let wave = |len: usize| (0..len).map(|i| (i as f32 * 1.7).cos() * 0.01).collect();
        Self { u: wave(spec.d_ff), lambda: wave(spec.d_model) }
    }

    fn patch(&self) -> RankOne<'_> {
        RankOne { layer: EDIT_LAYER, u: &self.u, lambda: &self.lambda }
    }

    fn is_all_that_is_applied<D: Device>(&self, transformer: &Transformer<'_, D>) {
        assert_eq!(transformer.patches().count(), 1, "between two units only the earlier patch is applied");
        assert_eq!(transformer.applied(EDIT_LAYER, 0), Some(self.patch()), "and as it was");
    }
}
