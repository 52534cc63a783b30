//! Sequences of C calls, in any order and with any numbers: each returns a code of the library, writes where it was told to and
//! nowhere else, and an editor that was given what it asked for works. Pointers are NULL or what they are declared to be.
#![allow(unsafe_code, reason = "it calls what C calls")]

mod journal;
mod memory;

use std::ffi::c_void;
use std::ptr;

use ::mobiedit::capi::*;

use self::journal::Journal;
use self::memory::{Kept, Lent};
use super::input::Input;
use super::tiny;

/// Most calls of a sequence.
const MOST: usize = 64;
/// Most bytes that a state is given.
const LENT: usize = 1 << 18;

/// What stands behind a toy's callbacks: sizes, and when it fails.
struct Toy {
    spec: mobiedit_spec,
    calls: u32,
    /// Every so-manyth call fails; 0: none.
    fails: u32,
    /// Every so-manyth number is not finite; 0: none.
    strange: u32,
    applied: u32,
}

impl Toy {
    fn call(&mut self) -> i32 {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.checked_rem(self.fails) == Some(0) { -77 } else { 0 }
    }

    fn number(&mut self, x: f32) -> f32 {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.checked_rem(self.strange) == Some(0) { f32::NAN } else { x }
    }

    fn loss(&mut self, away: f32) -> mobiedit_loss {
        mobiedit_loss { nll: self.number(0.01 + away), kl: 0.0, hits: u32::from(away < 0.5), targets: 1 }
    }
}

/// # Safety
/// `context` is a [`Toy`] that nobody else uses meanwhile, as all callbacks' contexts are here.
unsafe fn toy<'t>(context: *mut c_void) -> &'t mut Toy {
    // SAFETY: by this function's contract.
    unsafe { &mut *context.cast::<Toy>() }
}

/// # Safety
/// As the callback of this name in `mobiedit_backend`.
unsafe extern "C" fn prefill(
    context: *mut c_void,
    problem: *const mobiedit_problem,
    echo: i64,
    cache: *mut f32,
    cache_len: usize,
    keys: *mut f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: by the callback's contract, in `mobiedit_backend`.
    let (toy, cache, keys, value) = unsafe {
        let toy = toy(context);
        let rows = (*problem).prompts_len + usize::from(echo >= 0);
        let keys = std::slice::from_raw_parts_mut(keys, rows * toy.spec.d_ff as usize);
        let value = std::slice::from_raw_parts_mut(value, toy.spec.d_model as usize);
        (toy, std::slice::from_raw_parts_mut(cache, cache_len), keys, value)
    };
    cache.fill(0.5);
    keys.iter_mut().zip(0..).for_each(|(key, i)| *key = toy.number(1.0 + i as f32 / 64.0));
    value.fill(1.5);
    toy.call()
}

/// # Safety
/// As the callback of this name in `mobiedit_backend`.
unsafe extern "C" fn losses(
    context: *mut c_void,
    _: *const mobiedit_problem,
    _: u32,
    _: *mut f32,
    _: usize,
    deltas: *const f32,
    count: usize,
    out: *mut mobiedit_loss,
) -> i32 {
    // SAFETY: by the callback's contract.
    let (toy, deltas, out) = unsafe {
        let toy = toy(context);
        let deltas = std::slice::from_raw_parts(deltas, count * toy.spec.d_model as usize);
        (toy, deltas, std::slice::from_raw_parts_mut(out, count))
    };
    for (out, delta) in out.iter_mut().zip(deltas.chunks_exact(toy.spec.d_model as usize)) {
        *out = toy.loss(delta.iter().map(|x| (x - 1.0) * (x - 1.0)).sum());
    }
    toy.call()
}

/// # Safety
/// As the callback of this name in `mobiedit_backend`.
unsafe extern "C" fn evaluate(context: *mut c_void, _: *const mobiedit_problem, out: *mut mobiedit_loss) -> i32 {
    // SAFETY: by the callback's contract.
    let (toy, out) = unsafe { (toy(context), &mut *out) };
    *out = toy.loss(if toy.applied > 0 { 0.001 } else { 3.0 });
    toy.call()
}

/// # Safety
/// As the callback of this name in `mobiedit_backend`.
unsafe extern "C" fn project(context: *mut c_void, _: u32, _: *const f32, out: *mut f32) -> i32 {
    // SAFETY: by the callback's contract.
    let (toy, out) = unsafe {
        let toy = toy(context);
        let width = toy.spec.d_model as usize;
        (toy, std::slice::from_raw_parts_mut(out, width))
    };
    out.fill(0.25);
    toy.call()
}

/// # Safety
/// As the callback of this name in `mobiedit_backend`.
unsafe extern "C" fn apply(context: *mut c_void, patch: *const mobiedit_patch, id: *mut u32) -> i32 {
    // SAFETY: by the callback's contract.
    let (toy, sum) = unsafe {
        let toy = toy(context);
        let u = std::slice::from_raw_parts((*patch).u, toy.spec.d_ff as usize);
        let lambda = std::slice::from_raw_parts((*patch).lambda, toy.spec.d_model as usize);
        (toy, u.iter().chain(lambda).sum::<f32>())
    };
    assert!(sum.is_finite(), "a patch that is not finite");
    let code = toy.call();
    toy.applied += u32::from(code == 0);
    // SAFETY: by the callback's contract.
    unsafe { *id = toy.applied };
    code
}

/// # Safety
/// As the callback of this name in `mobiedit_backend`.
unsafe extern "C" fn remove(context: *mut c_void, _: u32) -> i32 {
    // SAFETY: by the callback's contract.
    let toy = unsafe { toy(context) };
    let code = toy.call();
    toy.applied = toy.applied.saturating_sub(u32::from(code == 0));
    code
}

/// Everything that calls point to; what a state may still point to is kept until the end.
struct World<'i> {
    input: Input<'i>,
    state: Kept<mobiedit>,
    cpu: Kept<mobiedit_cpu>,
    journal: Journal,
    toys: Vec<Kept<Toy>>,
    backends: Vec<Kept<mobiedit_backend>>,
    configs: Vec<Kept<mobiedit_config>>,
    problems: Vec<Posed>,
    memories: Vec<Lent>,
    models: Vec<Vec<u64>>,
    kept: Vec<u8>,
    id: u32,
}

/// A problem with what it points to.
struct Posed {
    _tokens: Vec<Vec<u32>>,
    _prompts: Vec<mobiedit_prompt>,
    _target: Vec<u32>,
    problem: Kept<mobiedit_problem>,
}

/// Makes the calls.
pub fn run(bytes: &[u8]) {
    let mut world = World {
        input: Input::new(bytes),
        state: Kept::new(mobiedit { opaque: [0; MOBIEDIT_STATE_WORDS] }),
        cpu: Kept::new(mobiedit_cpu { opaque: [0; MOBIEDIT_CPU_WORDS] }),
        journal: Journal::new(),
        toys: Vec::new(),
        backends: Vec::new(),
        configs: Vec::new(),
        problems: Vec::new(),
        memories: Vec::new(),
        models: Vec::new(),
        kept: Vec::new(),
        id: 0,
    };
    for _ in 0..MOST {
        if world.input.is_empty() {
            break;
        }
        let code = world.call();
        assert!((MOBIEDIT_ERR_UNKNOWN..=MOBIEDIT_ENDED).contains(&code), "{code} is no code of the library");
        assert!(!mobiedit_strerror(code).is_null());
        assert!(world.memories.iter().all(Lent::is_whole), "written behind the lent memory");
    }
}

impl World<'_> {
    fn call(&mut self) -> i32 {
        match self.input.below(16) {
            0 | 1 => self.toy_backend(),
            2 => self.cpu_backend(),
            3 | 4 => self.init(),
            5 | 6 => self.edit(),
            7 => self.resume(),
            8 => self.checkpoint(),
            9 => self.ended(),
            10 => self.apply(),
            // SAFETY: the state is zeroed or initialised, and all that it points to is kept.
            11 => unsafe { mobiedit_undo(self.state.at(), self.id) },
            12 => self.generate(),
            13 => self.readers(),
            14 => self.journal.call(&mut self.input),
            _ => self.steps(),
        }
    }

    fn toy_backend(&mut self) -> i32 {
        let plain = |n: usize| n as u32;
        let mut spec = mobiedit_spec {
            d_model: plain(tiny::SPEC.d_model),
            d_ff: plain(tiny::SPEC.d_ff),
            layers: plain(tiny::SPEC.layers),
            kv_dim: plain(tiny::SPEC.kv_dim),
            vocab: plain(tiny::SPEC.vocab),
            max_tokens: plain(tiny::SPEC.max_tokens),
        };
        if self.input.rarely(8) {
            let mobiedit_spec { d_model, d_ff, layers, kv_dim, vocab, max_tokens } = &mut spec;
            let sizes = [d_model, d_ff, layers, kv_dim, vocab, max_tokens];
            *sizes.into_iter().nth(self.input.below(6)).expect("one of six") = self.input.size() as u32;
        }
        let (fails, strange) = (u32::from(self.input.byte() % 32), u32::from(self.input.byte()));
        let toy = Kept::new(Toy { spec, calls: 0, fails, strange, applied: 0 });
        let missing = self.input.byte();
        let has = |bit: u8| missing != 255 - bit;
        let backend = mobiedit_backend {
            spec,
            context: toy.at().cast(),
            prefill: has(0).then_some(prefill),
            losses: has(1).then_some(losses),
            evaluate: has(2).then_some(evaluate),
            project: has(3).then_some(project),
            apply: has(4).then_some(apply),
            remove: has(5).then_some(remove),
            applied: None,
            generate: None,
            identity: None,
        };
        self.toys.push(toy);
        self.backends.push(Kept::new(backend));
        MOBIEDIT_OK
    }

    /// A model whose file may be damaged, in as much memory as it asks for, or less.
    fn cpu_backend(&mut self) -> i32 {
        let kind = self.input.one_of(&[tiny::F32, tiny::Q8_0]);
        let context = if self.input.rarely(8) { u32::MAX } else { 16 };
        let mut file = tiny::model_with("llama", kind, context);
        for _ in 0..self.input.below(4) {
            let (at, byte) = (u16::from_le_bytes(self.input.array()), self.input.byte());
            if self.input.rarely(4)
                && let Some(place) = file.get_mut(usize::from(at))
            {
                *place = byte;
            }
        }
        let mut model = vec![0_u64; file.len().div_ceil(8)];
        for (word, bytes) in model.iter_mut().zip(file.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        }
        let mut small =
            |most: usize| if self.input.rarely(16) { self.input.size() as u32 } else { self.input.below(most) as u32 };
        let mut config = mobiedit_cpu_config {
            abi: MOBIEDIT_ABI,
            activations: small(3),
            model: model.as_ptr().cast(),
            model_len: file.len(),
            rows: small(40),
            patches: small(6),
            context: small(20),
            calibration: ptr::null(),
            calibration_len: 0,
            memory: ptr::null_mut(),
            memory_len: 0,
        };
        let mut need = 0;
        // SAFETY: what the config points to is kept.
        let code = unsafe { mobiedit_cpu_footprint(&raw const config, &raw mut need) };
        if code != MOBIEDIT_OK {
            return code;
        }
        let less = self.input.rarely(8);
        let memory = Lent::new(need.min(LENT).saturating_sub(usize::from(less)));
        (config.memory, config.memory_len) = (memory.at(), memory.len);
        let backend = Kept::new(none());
        // A backend that is given another model is used no more: the state has to be initialised again.
        // SAFETY: no call is under way.
        unsafe { (*self.state.at()).opaque[0] = 0 };
        // SAFETY: as above; the backend's place stays.
        let code = unsafe { mobiedit_cpu_init(self.cpu.at(), &raw const config, backend.at()) };
        if memory.len < need {
            assert!(code != MOBIEDIT_OK, "{} bytes were enough, {need} were asked for", memory.len);
        } else {
            assert!(code != MOBIEDIT_ERR_TOO_SMALL, "{need} bytes were asked for, and were not enough");
        }
        self.memories.push(memory);
        self.models.push(model);
        if code == MOBIEDIT_OK {
            self.backends.push(backend);
        } else {
            // The memory of the model before may be the next one's.
            // SAFETY: no call is under way.
            unsafe { (*self.cpu.at()).opaque[0] = 0 };
            let cpu = self.cpu.at().cast();
            // SAFETY: as above.
            self.backends.retain(|backend| unsafe { (*backend.at()).context } != cpu);
        }
        code
    }

    fn init(&mut self) -> i32 {
        let mut small =
            |most: usize| if self.input.rarely(16) { self.input.size() as u32 } else { self.input.below(most) as u32 };
        let mut config = mobiedit_config {
            abi: MOBIEDIT_ABI,
            preset: small(2),
            max_steps: small(8),
            batch: small(20),
            directions: small(4),
            min_probability: 0.0,
            aim: 0.0,
            backend: ptr::null(),
            statistics: ptr::null(),
            memory: ptr::null_mut(),
            memory_len: 0,
        };
        if self.input.rarely(8) {
            config.min_probability = f32::from_bits(self.input.word());
        }
        config.backend = self.backends.last().map_or(ptr::null(), |backend| backend.at().cast_const());
        let mut need = 0;
        let (problem, len) = (self.problem(), self.input.below(64) * (LENT / 256));
        // SAFETY: all that the config and the problem point to is kept.
        let known = unsafe { mobiedit_footprint(&raw const config, problem, &raw mut need) } == MOBIEDIT_OK;
        let exact = known && need <= LENT && !self.input.rarely(4);
        let memory = Lent::new(if exact { need } else { len });
        (config.memory, config.memory_len) = (memory.at(), memory.len);
        if self.input.rarely(16) {
            config.memory = ptr::null_mut();
        }
        let config = Kept::new(config);
        // SAFETY: as above.
        let code = unsafe { mobiedit_init(self.state.at(), config.at()) };
        if exact && code == MOBIEDIT_OK {
            // SAFETY: as above.
            let begun = unsafe { mobiedit_edit(self.state.at(), problem) };
            assert_eq!(begun, MOBIEDIT_OK, "{need} bytes were asked for");
        }
        self.memories.push(memory);
        self.configs.push(config);
        code
    }

    /// A problem, most of them such that it can be posed.
    fn problem(&mut self) -> *const mobiedit_problem {
        let count = if self.input.rarely(16) { self.input.below(20) } else { 1 + self.input.below(3) };
        let target: Vec<u32> = (0..1 + self.input.below(2)).map(|_| u32::from(self.input.byte() % 9)).collect();
        let (_, known) = target.split_last().expect("at least one");
        let mut tokens: Vec<Vec<u32>> = (0..count)
            .map(|_| (0..2 + self.input.below(4)).map(|_| u32::from(self.input.byte() % 9)).collect())
            .collect();
        // A prompt goes on into the target, up to its last token.
        tokens.iter_mut().for_each(|tokens| tokens.extend(known));
        let strange = self.input.rarely(16);
        let prompts: Vec<mobiedit_prompt> = (0..)
            .zip(&tokens)
            .map(|(index, tokens)| mobiedit_prompt {
                tokens: tokens.as_ptr(),
                // What is longer than the context is refused without a look, so that nothing has to be there.
                tokens_len: if strange { usize::MAX } else { tokens.len() },
                subject_last: if strange { self.input.size() as u32 } else { 1 },
                role: if strange { self.input.word() } else { u32::from(index > 0 && index + 1 == count) },
            })
            .collect();
        let problem = mobiedit_problem {
            prompts: prompts.as_ptr(),
            prompts_len: if self.input.rarely(32) { self.input.size() } else { prompts.len() },
            target: if self.input.rarely(32) { ptr::null() } else { target.as_ptr() },
            target_len: if self.input.rarely(32) { self.input.size() } else { target.len() },
            layer: if strange { self.input.word() } else { 0 },
            seed: 5,
        };
        let (most_prompts, most_tokens) = (MOBIEDIT_MAX_PROMPTS, MOBIEDIT_MAX_TARGET_TOKENS);
        // A count that is allowed has to be true; what is over is refused without a look.
        let claimed = |len: usize, there: usize, most: usize| if len <= most { len.min(there) } else { len };
        let problem = mobiedit_problem {
            prompts_len: claimed(problem.prompts_len, prompts.len(), most_prompts),
            target_len: claimed(problem.target_len, target.len(), most_tokens),
            ..problem
        };
        let problem = Kept::new(problem);
        let at = problem.at();
        self.problems.push(Posed { _tokens: tokens, _prompts: prompts, _target: target, problem });
        at
    }

    fn edit(&mut self) -> i32 {
        let problem = if self.input.rarely(16) { ptr::null() } else { self.problem() };
        // SAFETY: the state is zeroed or initialised, and all that it points to is kept.
        unsafe { mobiedit_edit(self.state.at(), problem) }
    }

    fn resume(&mut self) -> i32 {
        let problem = self.problems.last().map_or(ptr::null(), |posed| posed.problem.at().cast_const());
        let mut bytes = self.kept.clone();
        if self.input.rarely(2)
            && let at = usize::from(self.input.byte())
            && let Some(byte) = bytes.get_mut(at)
        {
            *byte ^= 1 << self.input.below(8);
        }
        // SAFETY: as above; the bytes are there.
        unsafe { mobiedit_resume(self.state.at(), problem, bytes.as_ptr(), bytes.len()) }
    }

    fn checkpoint(&mut self) -> i32 {
        let len = if self.input.rarely(4) { self.input.below(200) } else { 4096 };
        let (mut bytes, mut written) = (vec![0xEE; len], usize::MAX);
        // SAFETY: as above; there are as many bytes.
        let code = unsafe { mobiedit_checkpoint(self.state.at(), bytes.as_mut_ptr(), len, &raw mut written) };
        if code == MOBIEDIT_OK {
            assert!(written <= len && bytes[written..].iter().all(|byte| *byte == 0xEE));
            bytes.truncate(written);
            self.kept = bytes;
        }
        code
    }

    /// Up to a hundred units of work.
    fn steps(&mut self) -> i32 {
        let mut code = MOBIEDIT_OK;
        for _ in 0..1 + self.input.below(100) {
            // SAFETY: the state is zeroed or initialised, and all that it points to is kept.
            code = unsafe { mobiedit_step(self.state.at()) };
            if code != MOBIEDIT_OK {
                break;
            }
        }
        let mut progress = mobiedit_progress::default();
        // SAFETY: as above.
        let known = unsafe { mobiedit_get_progress(self.state.at(), &raw mut progress) };
        assert!(code != MOBIEDIT_ENDED || known == MOBIEDIT_OK && progress.outcome != MOBIEDIT_RUNNING);
        code
    }

    fn ended(&mut self) -> i32 {
        let mut patch = mobiedit_patch { layer: 0, u: ptr::null(), lambda: ptr::null() };
        // SAFETY: as above.
        let code = unsafe { mobiedit_get_patch(self.state.at(), &raw mut patch) };
        assert!(code != MOBIEDIT_OK || !patch.u.is_null() && !patch.lambda.is_null());
        code
    }

    fn apply(&mut self) -> i32 {
        // SAFETY: as above.
        unsafe { mobiedit_apply(self.state.at(), &raw mut self.id) }
    }

    fn generate(&mut self) -> i32 {
        let prompt: Vec<u32> = (0..self.input.below(5)).map(|_| u32::from(self.input.byte() % 24)).collect();
        let (mut out, mut written) = (vec![u32::MAX; self.input.below(24)], usize::MAX);
        let (at, len) = (out.as_mut_ptr(), out.len());
        // SAFETY: as above; the buffers have these lengths.
        let code = unsafe {
            let state = self.state.at();
            mobiedit_generate(state, prompt.as_ptr(), prompt.len(), ptr::null(), 0, at, len, &raw mut written)
        };
        assert!(code != MOBIEDIT_OK || written <= len);
        code
    }

    fn readers(&mut self) -> i32 {
        let mut out = vec![0_u16; self.input.below(128)];
        let layer = if self.input.rarely(4) { self.input.word() } else { 0 };
        // SAFETY: the backend is zeroed or initialised; there are as many halves.
        unsafe { mobiedit_cpu_readers(self.cpu.at(), layer, out.as_mut_ptr(), out.len()) }
    }
}

/// A backend without callbacks.
fn none() -> mobiedit_backend {
    mobiedit_backend {
        spec: mobiedit_spec::default(),
        context: ptr::null_mut(),
        prefill: None,
        losses: None,
        evaluate: None,
        project: None,
        apply: None,
        remove: None,
        applied: None,
        generate: None,
        identity: None,
    }
}

/// An edit by callbacks from begin to end, one of the built-in backend, and calls in the wrong order.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    // Four steps; two prompts, a target of two tokens.
    let init = [3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 1, 1, 4, 5, 1, 1, 2, 3, 0, 6, 7, 0, 0, 0, 0, 9, 0, 0];
    let rest = [15, 99, 8, 0, 15, 99, 9, 8, 0, 7, 0, 0, 15, 50, 10, 11, 12, 3, 1, 2, 3, 9];
    let counts = |claims: &[u8]| [&init[..11], &[0, 0, 4, 0, 1, 1, 0], claims].concat();
    let mut seeds = vec![
        ("most-prompts", [&[0, 0, 0, 0, 0][..], &counts(&[31, 0, 0, 0])].concat()),
        ("most-target-tokens", [&[0, 0, 0, 0, 0][..], &counts(&[0, 0, 31, 0])].concat()),
        ("toy", [&[0, 0, 0, 0, 0][..], &init, &rest].concat()),
        ("toy-that-fails", [&[0, 0, 3, 0, 0][..], &init, &rest].concat()),
        ("toy-of-no-numbers", [&[0, 0, 0, 40, 0][..], &init, &rest].concat()),
        ("cpu", [&[2, 0, 0, 0, 0, 0, 0, 30, 0, 5, 0, 18, 0][..], &init, &rest, &[13, 64, 0]].concat()),
        ("cpu-context-4g", vec![2, 0, 7, 0, 0, 0, 0, 30, 0, 5, 0, 18, 0]),
        ("wrong-order", vec![15, 3, 9, 10, 11, 12, 2, 13, 8, 7, 5, 0, 0, 3]),
    ];
    seeds.extend(journal::seeds());
    seeds
}
