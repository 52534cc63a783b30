//! The threaded CPU's memory: as much as it says in advance, and none is taken by a step.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::core::backend::Loss;
use mobiedit::core::config::Covariance;
use mobiedit::core::problem::{Prompt, Role};
use mobiedit::core::{Config, EditStorage, Editor, Footprint, Problem, Statistics};
use mobiedit::hal_cpu::FastCpu;
use mobiedit::host::model_file::ModelFile;

struct Counting;

/// Bytes asked for so far, by all threads.
static ASKED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the trait's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the trait's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROWS: usize = 256;
const THREADS: usize = 2;
/// What rayon's queues take now and then.
const QUEUES: usize = 16 << 10;

#[test]
fn a_step_takes_no_memory_that_was_not_reserved() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().unwrap();
    let file = ModelFile::open(None).unwrap();
    pool.install(|| file.with_model(|_, model| steps(model))).unwrap();
}

fn steps(model: &mobiedit::backends::model::Model<'_>) {
    let config = model.config;
    let mut cpu = FastCpu::detect();
    let before = ASKED.load(Ordering::Relaxed);
    cpu.reserve(&config, ROWS).unwrap();
    let reserved = ASKED.load(Ordering::Relaxed) - before;
    let counted = FastCpu::bytes(&config, ROWS, THREADS);
    assert!(reserved <= counted && counted < 2 * reserved, "{reserved} bytes reserved, {counted} counted");

    let texts = [[5, 6, 7, 8, 9, 10], [15, 16, 17, 18, 19, 20], [25, 26, 27, 28, 29, 30]];
    let role = |at| if at < 2 { Role::Rewrite } else { Role::Essence };
    let texts = texts.iter().enumerate();
    let prompts: Vec<_> = texts.map(|(at, tokens)| Prompt { tokens, subject_last: 2, role: role(at) }).collect();
    let ours = Config { bank: false, covariance: Covariance::Identity, essences: 1, ..Config::DEFAULT };
    let checked = ours.check(&config.spec).unwrap();
    let problem = Problem::new(&config.spec, 1, &prompts, &[40]).unwrap();
    let need = Footprint::for_problem(&checked, &problem);
    let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
    let mut losses = vec![Loss::default(); need.losses];
    let mut work = vec![0.0; Transformer::<FastCpu>::work_len(&config, ROWS)];
    let mut patches = vec![0.0; Patches::len_of_one(config.spec.d_ff, config.spec.d_model)];
    let mut transformer = Transformer::new(*model, cpu, Precision::W8A16, &mut work, &mut patches);
    let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
    let mut editor = Editor::new(checked, problem, Statistics::default(), 1, storage).unwrap();

    let before = ASKED.load(Ordering::Relaxed);
    for _ in 0..6 {
        editor.step(&mut transformer).unwrap();
    }
    let asked = ASKED.load(Ordering::Relaxed) - before;
    assert!(asked < QUEUES, "{asked} bytes were asked for by six steps");
}
