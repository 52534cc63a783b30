//! Whole edits of the small model on a real library, named by `MOBIEDIT_QNN_LIB`; without one nothing is run, and that is said.
#![cfg(feature = "std")]

mod common;
#[expect(unreachable_pub, reason = "the firmware's crate exports them")]
#[path = "../../tests/firmware/edit/src/problem.rs"]
mod problem;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::rc::Rc;

use mobiedit_backends::calibration::Calibration;
use mobiedit_backends::generate::Sequence;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::model::{Layer, Model, ModelConfig};
use mobiedit_backends::patches::Patches;
use mobiedit_backends::scales::StaticScales;
use mobiedit_backends::transformer::{Precision, Transformer};
use mobiedit_core::config::EarlyStop;
use mobiedit_core::{Config, EditStorage, Editor, Footprint, ForwardBackend, Outcome, Problem, Progress, Statistics};
use mobiedit_hal_cpu::{Cpu, Scratch, ScratchLens, Statistics as Softmax};
use mobiedit_hal_qnn::{Counters, Qnn, QnnConfig};
use problem::{EDIT_LAYER, EDIT_PROMPTS, EDIT_SEED, EDIT_TARGET, EDIT_TEXT};

const MODEL: &[u8] = include_bytes!("../../tests/fixtures/small.gguf");
const CALIBRATION: &[u8] = include_bytes!("../../tests/fixtures/small.calibration");
/// Rows of a forward pass.
const ROWS: usize = 64;

fn config() -> QnnConfig {
    QnnConfig { rows: [ROWS].into(), cached: 64, patches: 2 }
}

/// Calls `work` with the small model, and the static scales that were measured on it.
fn with_model<T>(work: impl FnOnce(Model<'_>, Precision<'_>) -> T) -> T {
    let gguf = Gguf::parse(MODEL).unwrap();
    let mut layers = vec![Layer::EMPTY; ModelConfig::read(&gguf).unwrap().spec.layers];
    let model = Model::open(&gguf, &mut layers).unwrap();
    let scales: Vec<f32> = Calibration::parse(CALIBRATION).unwrap().scales(false).collect();
    work(model, Precision::Static(StaticScales::new(model.layers.len(), &scales).unwrap()))
}

/// What an edit left: the outcome, the answers before, after and without it again, the patch's bits, and the graphs that were
/// finalised before the first step and after the last.
#[derive(Debug, PartialEq)]
struct Edited {
    progress: Progress,
    answers: [Vec<u32>; 3],
    patch: Vec<u32>,
    finalized: [u64; 2],
}

/// The edit of the firmware's examples, of `steps` steps at most.
fn edit(device: &mut Qnn, steps: u32) -> Edited {
    with_model(|model, precision| {
        let spec = model.config.spec;
        let early_stop = EarlyStop { aim: 0.9, ..Config::DEFAULT.early_stop };
        let settings = Config { early_stop, max_steps: steps, ..Config::DEFAULT }.check(&spec).unwrap();
        let problem = Problem::new(&spec, EDIT_LAYER, EDIT_PROMPTS, EDIT_TARGET).unwrap();
        let mut work = vec![0.0; Transformer::<Qnn>::work_len(&model.config, ROWS)];
        let mut patches = vec![0.0; Patches::len_of_one(spec.d_ff, spec.d_model)];
        let mut npu = Transformer::new(model, device, precision, &mut work, &mut patches);
        let need = Footprint::for_problem(&settings, &problem);
        let (mut floats, mut cache, mut losses) =
            (vec![0.0; need.floats], vec![0.0; need.cache], vec![Default::default(); need.losses]);
        let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
        let say = |npu: &mut Transformer<'_, &mut Qnn>| {
            let mut memory = vec![0.0; Sequence::memory_len(&spec, EDIT_TEXT.len() + 4)];
            let mut answer = vec![0; 2];
            let mut sequence = Sequence::new(EDIT_TEXT.len() + 4, &mut memory);
            npu.generate(&mut sequence, EDIT_TEXT, &[], &mut answer).unwrap();
            answer
        };
        let before = say(&mut npu);
        let mut editor = Editor::new(settings, problem, Statistics::default(), EDIT_SEED, storage).unwrap();
        editor.step(&mut npu).unwrap();
        let at_first = npu.device().counters().finalized;
        let progress = loop {
            let progress = editor.step(&mut npu).unwrap();
            if progress.outcome.is_some() {
                break progress;
            }
        };
        let at_last = npu.device().counters().finalized;
        let patch = editor.patch().unwrap();
        let applied = npu.apply(patch).unwrap();
        let after = say(&mut npu);
        npu.remove(applied).unwrap();
        let undone = say(&mut npu);
        let bits = patch.u.iter().chain(patch.lambda).map(|x| x.to_bits()).collect();
        Edited { progress, answers: [before, after, undone], patch: bits, finalized: [at_first, at_last] }
    })
}

/// Files in memory.
type Files = Rc<RefCell<BTreeMap<u64, Vec<u8>>>>;

#[test]
fn an_edit_succeeds_finalises_nothing_in_its_steps_and_is_the_same_bits_from_kept_graphs() {
    let files = Files::default();
    let kept = || Some(common::device(config())?.with_store(Box::new(files.clone())));
    let Some(mut device) = kept() else { return };
    let first = edit(&mut device, 400);
    let [before, after, undone] = &first.answers;
    assert_eq!((first.progress.outcome, after[0]), (Some(Outcome::Success), EDIT_TARGET[0]), "{first:?}");
    assert!(before != after && before == undone, "{first:?}");
    // A graph for each layer, one more for the edited layer and its patches, the last norm, the head.
    let layers = with_model(|model, _| model.layers.len() as u64);
    assert_eq!(first.finalized, [layers + 3; 2]);
    let Counters { finalized, restored, rejected, .. } = device.counters();
    assert_eq!((finalized, restored, rejected), (layers + 3, 0, 0));
    let short = edit(&mut device, 2);
    drop(device);

    let mut device = kept().unwrap();
    let again = edit(&mut device, 2);
    assert_eq!(Edited { finalized: short.finalized, ..again }, short);
    let Counters { finalized, restored, rejected, .. } = device.counters();
    assert_eq!((finalized, restored, rejected), (0, layers + 3, 0));
}

#[test]
fn logits_are_the_cpus_up_to_a_cosine_of_0_999() {
    let Some(mut npu) = common::device(config()) else { return };
    let text: Vec<u32> = EDIT_PROMPTS.iter().flat_map(|prompt| prompt.tokens).copied().take(ROWS).collect();
    with_model(|model, precision| {
        let config = &model.config;
        let mut on_npu = vec![0.0; config.spec.vocab];
        let mut on_cpu = on_npu.clone();
        let mut work = vec![0.0; Transformer::<Qnn>::work_len(config, ROWS)];
        let mut memory = vec![0.0; Sequence::memory_len(&config.spec, text.len())];
        for end in [1, 5, text.len()] {
            let mut sequence = Sequence::new(text.len(), &mut memory);
            let mut transformer = Transformer::new(model, &mut npu, precision, &mut work, &mut []);
            on_npu.copy_from_slice(transformer.feed(&mut sequence, &text[..end]).unwrap());
            let mut sequence = Sequence::new(text.len(), &mut memory);
            let lens = ScratchLens::of(config, 8);
            let scratch = Scratch {
                activations: &mut vec![0; lens.activations],
                scales: &mut vec![0.0; lens.scales],
                levels: &mut vec![0; lens.levels],
                weights: &mut vec![0.0; lens.weights],
                scores: &mut vec![0.0; lens.scores],
                logits: &mut vec![0.0; lens.logits],
                statistics: &mut vec![Softmax::default(); lens.statistics],
            };
            let mut transformer = Transformer::new(model, Cpu::new(scratch), precision, &mut work, &mut []);
            on_cpu.copy_from_slice(transformer.feed(&mut sequence, &text[..end]).unwrap());
            let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>();
            let cosine = dot(&on_npu, &on_cpu) / (dot(&on_npu, &on_npu) * dot(&on_cpu, &on_cpu)).sqrt();
            println!("cosine after {end} tokens: {cosine}");
            assert!(cosine >= 0.999, "{cosine} after {end} tokens");
        }
    });
}

/// Pages of memory of this process.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}

/// As many edits as `MOBIEDIT_QNN_EDITS` says, of one step each.
#[test]
fn memory_stays_flat_over_many_edits() {
    let Some(edits) = env::var("MOBIEDIT_QNN_EDITS").ok().map(|edits| edits.parse::<usize>().unwrap()) else {
        return println!("not run: memory over many edits (MOBIEDIT_QNN_EDITS is not set)");
    };
    let few = QnnConfig { rows: [8, ROWS].into(), ..config() };
    let Some(mut device) = common::device(few) else { return };
    let mut after_ten = 0.0;
    for number in 1..=edits {
        edit(&mut device, 1);
        if number == 10 {
            after_ten = resident();
        }
        if number % 10 == 0 {
            println!("{number} edits: {:.1} MiB", resident() * 4096.0 / f64::from(1 << 20));
        }
        assert!(number < 10 || (resident() / after_ten - 1.0).abs() < 0.05, "{number} edits");
    }
}
