//! No heap: a whole edit of the shipped model on the scalar device, in memory that was lent before it began; and on the threaded one, in
//! memory that it reserved.

mod heap;

use std::hint::black_box;

use heap::{HEAP, Heap, counted, live};
use mobiedit::backends::device::Device;
use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::core::backend::Loss;
use mobiedit::core::{
    Config, EditStorage, Editor, Footprint, Outcome, Phase, Problem, Progress, PromptSet, Statistics,
};
use mobiedit::hal_cpu::{Cpu, FastCpu, ScratchBuffers, ScratchLens};
use mobiedit::host::prompts::{EditPrompts, EditRequest};
use mobiedit::host::session::{Session, SessionError, SessionOptions, auto_layer, with_session};
use mobiedit::host::statistics::prefixes;

#[test]
fn the_counter_sees_every_use_of_the_heap() {
    // So much that other tests beside this one do not hide it.
    let before = live();
    let much = black_box(vec![0_u8; black_box(1 << 30)]);
    assert!(live() > before + (1 << 29));
    drop(much);
    assert!(live() < before + (1 << 29));
    assert_eq!(counted(|| black_box(1) + 1), (2, NONE));
    let (mut kept, heap) = counted(|| Vec::<u8>::with_capacity(black_box(1000)));
    assert_eq!(heap, Heap { calls: 1, bytes: 1000, most: 1000 });
    assert_eq!(counted(|| kept.reserve_exact(black_box(3000))).1, Heap { calls: 1, bytes: 3000, most: 3000 });
    assert_eq!(counted(|| drop(black_box(kept))).1, Heap { calls: 1, bytes: 0, most: 0 });
    assert_eq!(counted(|| drop(black_box(vec![0_u8; black_box(50)]))).1, Heap { calls: 2, bytes: 50, most: 50 });
    let elsewhere = || std::thread::scope(|s| s.spawn(|| counted(|| drop(black_box(Box::new(7_u64)))).1).join());
    assert_eq!(elsewhere().unwrap(), Heap { calls: 2, bytes: 8, most: 8 }, "each thread has a count of its own");
}

/// Edits to the end, counting from the editor's first breath to its patch; `each` sees every step. `device` is told the rows of a pass.
fn edit<D: Device>(
    session: &Session<'_>,
    prompts: &EditPrompts,
    statistics: Statistics<'_>,
    config: Config,
    device: impl FnOnce(usize) -> D,
    mut each: impl FnMut(Progress, Heap),
) {
    let (model, spec) = (session.model, session.model.config.spec);
    let lent = prompts.lend();
    let problem = Problem::new(&spec, auto_layer(spec.layers), &lent, &prompts.target).unwrap();
    let config = config.check(&spec).unwrap();
    let need = Footprint::for_problem(&config, &problem);
    let rows = config.config().batch * problem.suffix_rows(PromptSet::ALL);
    let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
    let mut losses = vec![Loss::default(); need.losses];
    let mut work = vec![0.0; Transformer::<D>::work_len(&model.config, rows)];
    let mut patches = vec![0.0; Patches::len_of_one(spec.d_ff, spec.d_model)];
    let mut bytes = vec![0; 1 << 16];
    let device = device(rows);

    let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
    let ((mut editor, mut transformer), heap) = counted(|| {
        let transformer = Transformer::new(model, device, Precision::W8A16, &mut work, &mut patches);
        (Editor::new(config, problem, statistics, 0, storage).unwrap(), transformer)
    });
    assert_eq!(heap, NONE, "to set up");
    while editor.patch().is_none() {
        let (progress, heap) = counted(|| editor.step(&mut transformer).unwrap());
        each(progress, heap);
        let len = editor.checkpoint_len();
        assert_eq!(counted(|| editor.checkpoint(&mut bytes[..len]).unwrap()).1, NONE, "to keep a checkpoint");
    }
}

const NONE: Heap = Heap { calls: 0, bytes: 0, most: 0 };

/// Lends a session on so many threads, with the prompts of an edit and its layer's statistics.
fn with_edit(threads: usize, work: impl FnOnce(&Session<'_>, &EditPrompts, Statistics<'_>) + Send) {
    let options = SessionOptions { threads: Some(threads), ..SessionOptions::default() };
    let done = with_session(&options, |session| -> Result<(), SessionError> {
        let words =
            EditRequest { prompt: "The capital of {} is".into(), subject: "France".into(), target: "Rome".into() };
        let prefixes: Vec<&str> = prefixes().take(6).collect();
        let prompts = EditPrompts::new(&session.tokenizer, &words, &prefixes)?;
        let statistics = session.statistics(auto_layer(session.model.layers.len()), |_, _| ())?;
        work(session, &prompts, statistics.lend());
        Ok(())
    });
    done.unwrap();
}

#[test]
fn a_whole_edit_on_the_scalar_device_does_not_use_the_heap() {
    with_edit(1, |session, prompts, statistics| {
        let mut scratch = ScratchBuffers::new(ScratchLens::of(&session.model.config, 16));
        let (mut phases, mut last) = (Vec::new(), None);
        let cpu = Cpu::new(scratch.lend());
        edit(
            session,
            prompts,
            statistics,
            Config::DEFAULT,
            |_| cpu,
            |progress, heap| {
                assert_eq!(heap, NONE, "{progress:?}");
                phases.push(progress.phase);
                last = progress.outcome;
            },
        );
        assert_eq!(last, Some(Outcome::Success));
        for phase in [Phase::Prefill, Phase::Bank, Phase::Search, Phase::Verify] {
            assert!(phases.contains(&phase), "{phase:?} was counted");
        }
    });
}

#[test]
fn the_threaded_device_reserves_what_it_says_and_takes_next_to_nothing_later() {
    const THREADS: usize = 2;
    /// What rayon's queues take now and then.
    const QUEUES: usize = 4 << 10;
    // All threads' counts.
    let bytes = || rayon::broadcast(|_| HEAP.get().bytes).iter().sum::<usize>();
    with_edit(THREADS, |session, prompts, statistics| {
        let config = &session.model.config;
        let (mut start, mut steps) = (0, 0);
        let device = |rows| {
            let mut cpu = FastCpu::detect();
            // Asking all threads takes some bytes itself.
            let (first, before) = (bytes(), bytes());
            cpu.reserve(config, rows).unwrap();
            start = bytes();
            let reserved = (start - before) - (before - first);
            let counted = FastCpu::bytes(config, rows, THREADS);
            assert!(reserved <= counted && counted < 2 * reserved, "{reserved} bytes reserved, {counted} counted");
            cpu
        };
        edit(session, prompts, statistics, Config::DEFAULT, device, |_, _| steps += 1);
        let taken = bytes() - start;
        assert!(steps > 10 && taken < QUEUES, "{taken} bytes in {steps} steps");
    });
}
