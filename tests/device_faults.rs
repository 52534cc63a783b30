//! A device that fails once, at any of its runs: the edit goes on, and ends in the same bits.

#[expect(unreachable_pub, reason = "the firmware's crate exports them")]
#[path = "firmware/edit/src/problem.rs"]
mod problem;

use mobiedit::backends::device::{Capabilities, Device, Memory};
use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::model::{Layer, Model, ModelConfig};
use mobiedit::backends::op::Op;
use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{ForwardError, Precision, Transformer};
use mobiedit::core::backend::{BackendError, BackendErrorKind, Loss};
use mobiedit::core::{Config, EditStorage, Editor, Footprint, ForwardBackend, Problem, Statistics, StepError};
use mobiedit::hal_cpu::FastCpu;
use problem::{EDIT_LAYER, EDIT_PROMPTS, EDIT_SEED, EDIT_TARGET, EDIT_TEXT};

const MODEL: &[u8] = include_bytes!("fixtures/small.gguf");
const ROWS: usize = 64;

/// Runs on the CPU, but for one run, which it says it has lost after it was half done.
#[derive(Debug)]
struct Faulty {
    device: FastCpu,
    runs: usize,
    fails_at: usize,
}

/// The device went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the device was lost")
    }
}

impl std::error::Error for Lost {}

impl BackendError for Lost {
    fn kind(&self) -> BackendErrorKind {
        BackendErrorKind::Device
    }
}

impl Device for Faulty {
    type Error = Lost;

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), Lost> {
        self.runs += 1;
        let lost = self.runs == self.fails_at;
        let ops = if lost { &ops[..ops.len() / 2] } else { ops };
        self.device.run(memory, ops).map_err(|_| Lost)?;
        if lost { Err(Lost) } else { Ok(()) }
    }
}

/// The patch's bits of an edit of a few steps, the failures that it met, and the runs of the device.
fn edit(fails_at: usize) -> (Vec<u32>, usize, usize) {
    let gguf = Gguf::parse(MODEL).unwrap();
    let config = ModelConfig::read(&gguf).unwrap();
    let mut layers = vec![Layer::EMPTY; config.spec.layers];
    let model = Model::open(&gguf, &mut layers).unwrap();
    let settings = Config { max_steps: 3, ..Config::DEFAULT }.check(&config.spec).unwrap();
    let problem = Problem::new(&config.spec, EDIT_LAYER, EDIT_PROMPTS, EDIT_TARGET).unwrap();
    let need = Footprint::for_problem(&settings, &problem);
    let (mut floats, mut cache, mut losses) =
        (vec![0.0; need.floats], vec![0.0; need.cache], vec![Loss::default(); need.losses]);
    let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
    let mut work = vec![0.0; Transformer::<Faulty>::work_len(&config, ROWS)];
    let mut patches = vec![0.0; Patches::len_of_one(config.spec.d_ff, config.spec.d_model)];
    let device = Faulty { device: FastCpu::detect(), runs: 0, fails_at };
    let mut transformer = Transformer::new(model, device, Precision::W8A16, &mut work, &mut patches);
    let mut editor = Editor::new(settings, problem, Statistics::default(), EDIT_SEED, storage).unwrap();
    let mut failures = 0;
    loop {
        match editor.step(&mut transformer) {
            Ok(progress) if progress.outcome.is_some() => break,
            Ok(_) => {}
            Err(error) => {
                let lost =
                    |error| matches!(error, ForwardError::Device(Lost) | ForwardError::Layer { error: Lost, .. });
                assert!(matches!(error, StepError::Backend(error) if lost(error)), "{error}");
                assert_eq!(error.to_string().matches("the device was lost").count(), 1, "{error}");
                failures += 1;
            }
        }
    }
    assert_eq!(transformer.patches().count(), 0, "nothing stays applied");
    assert!(!EDIT_TEXT.is_empty());
    let patch = editor.patch().unwrap();
    let bits = patch.u.iter().chain(patch.lambda).map(|x| x.to_bits()).collect();
    let applied = transformer.apply(patch).unwrap();
    transformer.remove(applied).unwrap();
    (bits, failures, transformer.device().runs)
}

#[test]
fn an_edit_whose_device_fails_once_ends_in_the_same_bits() {
    let (whole, failures, runs) = edit(0);
    assert_eq!(failures, 0);
    for fails_at in (1..=runs).step_by(runs / 40) {
        let (patch, failures, _) = edit(fails_at);
        assert_eq!((failures, patch == whole), (1, true), "run {fails_at} of {runs}");
    }
}
