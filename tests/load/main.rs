//! Load: thousands of patches put on and taken off, a thousand edits and undos in one process, two dozen editors at once. Bits
//! and memory are looked at, not time.
//!
//! `MOBIEDIT_EDITS` and `MOBIEDIT_PATCHES` set the numbers of edits and of patches; what is run by hand is `MOBIEDIT_EDITS=1000`.

#[path = "../heap/mod.rs"]
mod heap;
#[expect(unreachable_pub, reason = "the firmware's crate exports them")]
#[path = "../firmware/edit/src/problem.rs"]
mod problem;
mod resident;

use std::fs;
use std::ops::ControlFlow;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

use heap::{Heap, counted};
use mobiedit::backends::device::Device;
use mobiedit::backends::generate::Sequence;
use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::model::{Layer, Model, ModelConfig};
use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::core::backend::Loss;
use mobiedit::core::config::{EarlyStop, Watch};
use mobiedit::core::{Config, EditStorage, Editor, Footprint, ForwardBackend, Problem, RankOne, Statistics};
use mobiedit::hal_cpu::{Cpu, FastCpu, ScratchBuffers, ScratchLens};
use mobiedit::host::edits::{EditInfo, Edits, EditsWriter};
use mobiedit::host::prompts::{EditPrompts, TokenPrompt};
use mobiedit::host::search::{Ended, Found, Search};
use problem::{EDIT_LAYER, EDIT_PROMPTS, EDIT_SEED, EDIT_TARGET, EDIT_TEXT};
use resident::Memory;

const MODEL: &[u8] = include_bytes!("../fixtures/small.gguf");
/// Rows of a forward pass.
const ROWS: usize = 64;
/// Editors at once.
const EDITORS: usize = 24;
/// Edits without `MOBIEDIT_EDITS`.
const EDITS: usize = 60;
/// Patches without `MOBIEDIT_PATCHES`.
const PATCHES: usize = 10_000;

/// The heap is left alone.
const NONE: Heap = Heap { calls: 0, bytes: 0, most: 0 };

/// Memory is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn with_model<R>(work: impl FnOnce(&Model<'_>) -> R) -> R {
    let gguf = Gguf::parse(MODEL).unwrap();
    let config = ModelConfig::read(&gguf).unwrap();
    let mut layers = vec![Layer::EMPTY; config.spec.layers];
    work(&Model::open(&gguf, &mut layers).unwrap())
}

/// Lends memory for a transformer with room for so many patches.
fn on<D: Device, R>(model: &Model<'_>, device: D, room: usize, work: impl FnOnce(&mut Transformer<'_, D>) -> R) -> R {
    let spec = model.config.spec;
    let mut memory = vec![0.0; Transformer::<D>::work_len(&model.config, ROWS)];
    let mut patches = vec![0.0; room * Patches::len_of_one(spec.d_ff, spec.d_model)];
    work(&mut Transformer::new(*model, device, Precision::W8A16, &mut memory, &mut patches))
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// FNV-1a of the numbers' bits.
fn hash<'f>(x: impl Iterator<Item = &'f f32>) -> u64 {
    x.flat_map(|x| x.to_le_bytes())
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The bits of the logits behind the prompt.
fn logits<D: Device>(transformer: &mut Transformer<'_, D>) -> Vec<u32> {
    let mut memory = vec![0.0; Sequence::memory_len(&transformer.spec(), EDIT_TEXT.len())];
    bits(transformer.feed(&mut Sequence::new(EDIT_TEXT.len(), &mut memory), EDIT_TEXT).unwrap())
}

/// Numbers in −1..1, others for each seed.
fn noise(seed: usize, len: usize) -> Vec<f32> {
    let mut state = seed as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn thousands_of_patches_leave_no_bit_and_take_no_memory() {
    let _alone = alone();
    let all = number("MOBIEDIT_PATCHES", PATCHES);
    with_model(|model| {
        on(model, FastCpu::detect(), 3, |transformer| {
            let (spec, before) = (model.config.spec, logits(transformer));
            let mut memory = Memory::default();
            let mut changed = 0;
            // Up to three lie on each other; they go in another order than they came.
            for done in (0..all).step_by(3) {
                let stack = 3.min(all - done);
                let mut ids: Vec<_> = (done..done + stack)
                    .map(|i| {
                        let (u, lambda) = (noise(2 * i, spec.d_ff), noise(2 * i + 1, spec.d_model));
                        let patch = RankOne { layer: i % spec.layers, u: &u, lambda: &lambda };
                        let (id, heap) = counted(|| transformer.apply(patch).unwrap());
                        assert_eq!(heap, NONE);
                        id
                    })
                    .collect();
                if done % 300 == 0 {
                    assert_ne!(logits(transformer), before, "patches count");
                    changed += 1;
                }
                let turns = done / 3 % stack;
                ids.rotate_left(turns);
                for id in ids {
                    assert_eq!(counted(|| transformer.remove(id).unwrap()).1, NONE);
                }
                assert_eq!(transformer.patches().count(), 0);
                assert!(logits(transformer) == before, "after {} patches", done + stack);
                memory.after(done / 3 + 1, all.div_ceil(3));
            }
            println!("{all} patches put on and taken off; {changed} times the model between was another one");
            memory.is_flat("patches", 0);
        });
    });
}

/// The edit of the firmware's tests with this target.
fn prompts(target: u32) -> EditPrompts {
    let owned = EDIT_PROMPTS.iter().map(|p| TokenPrompt {
        tokens: p.tokens.to_vec(),
        subject_last: p.subject_last,
        role: p.role,
    });
    EditPrompts { text: String::from("The capital of France is"), prompts: owned.collect(), target: vec![target] }
}

fn search(seed: usize) -> Search {
    // Tested after each step: so the patch is that of a step, not of δ = 0, where the loss may have been the lowest.
    let early_stop = EarlyStop { watch: Watch::Every(1), ..Config::DEFAULT.early_stop };
    let config = Config { max_steps: 2, early_stop, ..Config::DEFAULT };
    Search { config, layer: EDIT_LAYER, seed: seed as u64 }
}

fn found<D: Device<Error: 'static>>(transformer: &mut Transformer<'_, D>, number: usize) -> Found {
    let target = (EDIT_TARGET[0] + number as u32) % 1024;
    let watch = |_: &_| ControlFlow::Continue(());
    match search(number).run(transformer, &prompts(target), Statistics::default(), None, watch).unwrap() {
        Ended::Found(found) => found,
        Ended::Interrupted(_) => panic!("nobody interrupts it"),
    }
}

fn info(edit_id: String, number: usize, found: &Found) -> EditInfo {
    EditInfo {
        edit_id,
        model: 1,
        prompt: "The capital of {} is".into(),
        subject: "France".into(),
        target: format!("target {number}"),
        layer: found.layer,
        preset: "default".into(),
        seed: number as u64,
        steps: found.progress.step,
        forward_passes: found.progress.forward_passes,
        p_target: found.progress.p_target,
        success: true,
    }
}

#[test]
fn many_edits_and_undos_in_one_process_leave_no_bit_and_take_no_memory() {
    let _alone = alone();
    let all = number("MOBIEDIT_EDITS", EDITS);
    let folder = tempfile::tempdir().unwrap();
    let made = with_model(|model| {
        on(model, FastCpu::detect(), 2, |transformer| {
            let before = logits(transformer);
            let mut memory = Memory::default();
            let mut made = Vec::with_capacity(all);
            for number in 0..all {
                let found = found(transformer, number);
                // As the command line does it: a writer for each command.
                let mut writer = EditsWriter::open(folder.path()).unwrap();
                let id = writer.next_id();
                writer.commit(info(id.clone(), number, &found), found.patch()).unwrap();
                drop(writer);
                let patch = transformer.apply(found.patch()).unwrap();
                assert!(logits(transformer) != before, "edit {number} counts");
                EditsWriter::open(folder.path()).unwrap().undo(&id).unwrap();
                transformer.remove(patch).unwrap();
                assert!(logits(transformer) == before, "edit {number} is undone");
                made.push(hash(found.u.iter().chain(&found.lambda)));
                memory.after(number + 1, all);
            }
            let journal = fs::metadata(Edits::read(folder.path()).unwrap().journal()).unwrap().len() as usize >> 10;
            println!("{all} edits and undos, a journal of {journal} KiB");
            // A writer reads the journal, and holds its bytes and its edits for that time.
            memory.is_flat("edits", 3 * journal);
            made
        })
    });
    let edits = Edits::read(folder.path()).unwrap();
    assert_eq!((edits.list().len(), edits.active().count(), edits.torn()), (all, 0, 0));
    for (number, (edit, made)) in edits.list().iter().zip(&made).enumerate() {
        assert_eq!(edit.info.edit_id, format!("e{}", number + 1));
        assert_eq!(hash(edit.u.iter().chain(&edit.lambda)), *made, "edit {number} as it was made");
    }
    let different = made.iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!(different, all, "no two edits are alike");
}

/// One of the editors that run at once.
#[derive(Clone, Copy, Debug)]
struct Pose {
    layer: usize,
    target: u32,
    seed: u64,
}

/// The bits of an edit in memory of its own, on the threaded device or the scalar one.
fn edit(model: &Model<'_>, pose: Pose, scalar: bool) -> Vec<u32> {
    if scalar {
        let mut scratch = ScratchBuffers::new(ScratchLens::of(&model.config, 16));
        edit_on(model, Cpu::new(scratch.lend()), pose)
    } else {
        edit_on(model, FastCpu::detect(), pose)
    }
}

fn edit_on<D: Device>(model: &Model<'_>, device: D, pose: Pose) -> Vec<u32> {
    let spec = model.config.spec;
    let settings = Config { max_steps: 6, ..Config::DEFAULT }.check(&spec).unwrap();
    let target = [pose.target];
    let problem = Problem::new(&spec, pose.layer, EDIT_PROMPTS, &target).unwrap();
    let need = Footprint::for_problem(&settings, &problem);
    let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
    let mut losses = vec![Loss::default(); need.losses];
    let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
    let mut editor = Editor::new(settings, problem, Statistics::default(), pose.seed, storage).unwrap();
    on(model, device, 1, |transformer| {
        while editor.patch().is_none() {
            editor.step(transformer).unwrap();
        }
        let patch = editor.patch().unwrap();
        let applied = transformer.apply(patch).unwrap();
        let said = logits(transformer);
        transformer.remove(applied).unwrap();
        [bits(patch.u), bits(patch.lambda), bits(editor.delta()), said].concat()
    })
}

fn at_once_as_alone(poses: &[Pose]) {
    with_model(|model| {
        let alone: Vec<_> = poses.iter().map(|pose| edit(model, *pose, false)).collect();
        let start = Barrier::new(poses.len());
        let together = std::thread::scope(|scope| {
            let editors: Vec<_> = poses
                .iter()
                .enumerate()
                .map(|(number, pose)| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        edit(model, *pose, number % 2 == 0)
                    })
                })
                .collect();
            editors.into_iter().map(|editor| editor.join().unwrap()).collect::<Vec<_>>()
        });
        for ((pose, alone), together) in poses.iter().zip(&alone).zip(&together) {
            assert!(alone == together, "{pose:?} has other bits beside other editors");
        }
        let others = alone.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(others, poses.len() - 1, "the edits differ");
    });
}

#[test]
fn two_dozen_editors_of_one_fact_at_once_have_each_the_bits_it_has_alone() {
    let _alone = alone();
    let pose = |i| Pose { layer: EDIT_LAYER, target: EDIT_TARGET[0], seed: EDIT_SEED + i as u64 };
    at_once_as_alone(&(0..EDITORS).map(pose).collect::<Vec<_>>());
}

#[test]
fn two_dozen_different_edits_at_once_have_each_the_bits_it_has_alone() {
    let _alone = alone();
    let pose = |i| Pose { layer: i % 3, target: EDIT_TARGET[0] + 7 * i as u32, seed: EDIT_SEED };
    at_once_as_alone(&(0..EDITORS).map(pose).collect::<Vec<_>>());
}
