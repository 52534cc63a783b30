//! Operations and models that nobody should pose, put together by hand: refused with an error, on every device, and never a
//! panic or a number.

use mobiedit_backends::device::{Device, Memory};
use mobiedit_backends::generate::Sequence;
use mobiedit_backends::model::{Architecture, Layer, Model, ModelConfig};
use mobiedit_backends::op::{Op, Pool, RopePairs, Rows, Segment, Slot};
use mobiedit_backends::patches::Patches;
use mobiedit_backends::transformer::{ForwardError, Precision, Transformer};
use mobiedit_backends::weights::{Format, Matrix};
use mobiedit_core::backend::{ForwardBackend, Loss, ModelSpec};
use mobiedit_core::problem::{Problem, Prompt, PromptSet, Role};
use mobiedit_core::{RankOne, f16};
use mobiedit_hal_cpu::{Cpu, CpuError, Scratch, ScratchLens, Statistics};

/// Calls `f` with every device of this build.
fn each(mut f: impl FnMut(&mut dyn Device<Error = CpuError>)) {
    let lens = ScratchLens::with(64, 16, 2);
    f(&mut Cpu::new(Scratch {
        activations: &mut vec![0; lens.activations],
        scales: &mut vec![0.0; lens.scales],
        levels: &mut vec![0; lens.levels],
        weights: &mut vec![0.0; lens.weights],
        scores: &mut vec![0.0; lens.scores],
        logits: &mut vec![0.0; lens.logits],
        statistics: &mut vec![Statistics::default(); lens.statistics],
    }));
    #[cfg(feature = "std")]
    f(&mut mobiedit_hal_cpu::FastCpu::detect());
}

#[test]
fn operations_of_nothing_are_refused() {
    let slot = |start, len| Slot { pool: Pool::Work, start, len };
    let one = [Segment { rows: 1, ..Segment::default() }];
    let attention = |heads, segments| Op::Attention {
        q: slot(0, 0),
        k: slot(0, 4),
        v: slot(4, 4),
        rows: Rows { copies: 1, segments },
        cache_layer: 0,
        heads,
        kv_heads: 1,
        head_dim: 4,
        out: slot(0, 0),
    };
    let ops = [
        ("attention without a query head", attention(0, &one)),
        ("attention without a row, onto keys", attention(1, &[])),
        ("angles for no row", Op::Rope { x: slot(0, 8), table: slot(0, 0), head_dim: 4, pairs: RopePairs::Halves }),
        ("an injection of nothing", Op::Inject { x: slot(0, 0), per_copy: 1, copies: 1, rows: &[0], delta: &[] }),
        ("a gathering of nothing", Op::Gather { x: slot(0, 0), per_copy: 1, rows: &[0], copies: 1, out: slot(0, 0) }),
    ];
    each(|device| {
        for (name, op) in ops {
            let mut work = [0.5; 16];
            let result = device.run(&mut Memory { work: &mut work, cache: &mut [] }, &[op]);
            assert!(result.is_err(), "{name}");
            assert_eq!(work, [0.5; 16], "{name}");
        }
    });
}

const SPEC: ModelSpec = ModelSpec { d_model: 4, d_ff: 8, layers: 2, kv_dim: 4, vocab: 5, max_tokens: 8 };
const CONFIG: ModelConfig = ModelConfig {
    architecture: Architecture::Llama,
    spec: SPEC,
    heads: 1,
    kv_heads: 1,
    head_dim: 4,
    rope_dim: 4,
    rope_theta: 1e4,
    rope_linear_scale: 1.0,
    rope_pairs: RopePairs::Halves,
    norm_eps: 1e-6,
};

/// Calls `f` with a model whose weights are all 1/8, on every device.
fn with_model(config: ModelConfig, f: impl Fn(&mut Transformer<'_, &mut dyn Device<Error = CpuError>>)) {
    let halves = f16::from_f32(0.125).to_le_bytes().repeat(64);
    let floats = 0.125f32.to_le_bytes().repeat(16);
    let matrix = |rows, cols| Matrix::new(Format::F16, rows, cols, &halves[..2 * rows * cols]).unwrap();
    let vector = |len: usize| Matrix::new(Format::F32, 1, len, &floats[..4 * len]).unwrap();
    let (square, wide, tall, norm) = (matrix(4, 4), matrix(8, 4), matrix(4, 8), vector(4));
    let layer = Layer {
        attn_norm: norm,
        q: square,
        k: square,
        v: square,
        o: square,
        ffn_norm: norm,
        gate: wide,
        up: wide,
        down: tall,
        ..Layer::EMPTY
    };
    let (layers, table) = ([layer; 2], matrix(5, 4));
    let model = Model { config, embedding: table, layers: &layers, output_norm: norm, head: table, rope_factors: None };
    each(|device| {
        let (mut work, mut patches) = ([0.0; 1024], [0.0; 2 * Patches::len_of_one(8, 4)]);
        f(&mut Transformer::new(model, device, Precision::Float, &mut work, &mut patches));
    });
}

#[test]
fn hyper_parameters_that_do_not_fit_are_an_error() {
    let spec = |change: fn(&mut ModelSpec)| {
        let mut config = CONFIG;
        change(&mut config.spec);
        config
    };
    let configs = [
        spec(|s| s.d_model = 0),
        spec(|s| s.d_ff = 0),
        spec(|s| s.kv_dim = 0),
        spec(|s| s.vocab = 4),
        spec(|s| (s.d_model, s.d_ff) = (usize::MAX, usize::MAX)),
        ModelConfig { spec: ModelSpec { d_model: 0, d_ff: 0, kv_dim: 0, ..SPEC }, heads: 0, head_dim: 0, ..CONFIG },
        ModelConfig { heads: 0, ..CONFIG },
        ModelConfig { kv_heads: 0, ..CONFIG },
        ModelConfig { heads: usize::MAX, ..CONFIG },
        ModelConfig { head_dim: 0, rope_dim: 0, ..CONFIG },
        ModelConfig { head_dim: 3, rope_dim: 3, ..CONFIG },
        ModelConfig { head_dim: 512, rope_dim: 512, ..CONFIG },
        ModelConfig { rope_dim: 2, ..CONFIG },
    ];
    let prompts = [Prompt { tokens: &[1, 2, 3], subject_last: 1, role: Role::Rewrite }];
    let problem = Problem::new(&SPEC, 0, &prompts, &[4]).unwrap();
    for config in configs {
        with_model(config, |t| {
            let (mut cache, mut keys, mut value) = ([0.0; 64], [0.0; 64], [0.0; 64]);
            let mut memory = [0.0; 512];
            assert!(t.prefill(&problem, &mut cache, &mut keys, &mut value).is_err(), "{config:?}");
            assert!(
                t.losses(&problem, PromptSet::ALL, &mut cache, &[0.0; 4], &mut [Loss::default()]).is_err(),
                "{config:?}"
            );
            assert!(
                t.losses_uncached(&problem, PromptSet::ALL, &mut cache, &[0.0; 4], &mut [Loss::default()]).is_err(),
                "{config:?}"
            );
            assert!(t.evaluate(&problem).is_err(), "{config:?}");
            assert!(t.capture(&[1, 2], 0, &mut keys, &mut value).is_err(), "{config:?}");
            assert!(t.project(0, &keys, &mut value).is_err(), "{config:?}");
            assert!(t.feed(&mut Sequence::new(4, &mut memory), &[1, 2]).is_err(), "{config:?}");
        });
    }
}

#[test]
fn what_was_posed_to_another_model_is_refused() {
    let larger = ModelSpec { layers: 9, vocab: 99, max_tokens: 99, ..SPEC };
    let short = [Prompt { tokens: &[1, 2, 3], subject_last: 1, role: Role::Rewrite }];
    let foreign = [Prompt { tokens: &[1, 77, 3], subject_last: 2, role: Role::Rewrite }];
    let long = [Prompt { tokens: &[1; 9], subject_last: 8, role: Role::Rewrite }];
    for (layer, prompts, target) in
        [(1, &short, 4), (8 - 1, &short, 4), (0, &short, 77), (0, &foreign, 4), (0, &long, 4)]
    {
        let target = [target];
        let problem = Problem::new(&larger, layer, prompts, &target).unwrap();
        with_model(CONFIG, |t| {
            let (mut cache, mut keys, mut value) = ([0.0; 256], [0.0; 64], [0.0; 64]);
            let refused = Err(ForwardError::OutOfRange);
            assert_eq!(t.prefill(&problem, &mut cache, &mut keys, &mut value), refused);
            assert_eq!(t.losses(&problem, PromptSet::ALL, &mut cache, &[0.0; 4], &mut [Loss::default()]), refused);
            assert_eq!(
                t.losses_uncached(&problem, PromptSet::ALL, &mut cache, &[0.0; 4], &mut [Loss::default()]),
                refused
            );
            assert_eq!(t.evaluate(&problem).map(|_| ()), refused);
        });
    }
}

#[test]
fn a_patch_of_a_layer_that_is_not_there_is_refused_and_more_tokens_than_the_context() {
    with_model(CONFIG, |t| {
        let (u, lambda) = ([0.5; 8], [0.5; 4]);
        assert!(t.apply(RankOne { layer: 1, u: &u, lambda: &lambda }).is_ok());
        assert_eq!(t.apply(RankOne { layer: 2, u: &u, lambda: &lambda }), Err(ForwardError::OutOfRange));
        let (mut keys, mut values) = ([0.0; 9 * 8], [0.0; 9 * 4]);
        assert_eq!(t.capture(&[1; 8], 1, &mut keys, &mut values), Ok(()));
        assert_eq!(t.capture(&[1; 9], 1, &mut keys, &mut values), Err(ForwardError::ContextFull));
        let mut sequence = Sequence::new(usize::MAX, &mut []);
        assert!(matches!(
            t.feed(&mut sequence, &[1]),
            Err(ForwardError::BufferTooSmall { need: usize::MAX, given: 0 })
        ));
    });
}

#[test]
fn a_delta_that_is_not_finite_or_leaves_the_range_is_found() {
    let prompts = [Prompt { tokens: &[1, 2, 3], subject_last: 1, role: Role::Rewrite }];
    let problem = Problem::new(&SPEC, 0, &prompts, &[4]).unwrap();
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        with_model(CONFIG, |t| {
            let (mut cache, mut keys, mut value) = ([0.0; 64], [0.0; 8], [0.0; 4]);
            t.prefill(&problem, &mut cache, &mut keys, &mut value).unwrap();
            let mut losses = [Loss::default(); 2];
            let deltas = [0.0, 0.0, 0.0, 0.0, 0.0, x, 0.0, 0.0];
            assert_eq!(
                t.losses(&problem, PromptSet::ALL, &mut cache, &deltas, &mut losses),
                Err(ForwardError::NotFinite),
                "{x}"
            );
        });
    }
}

/// An infinite key whose product with the query is −∞ would get the weight 0, and what is wrong would not be seen.
#[test]
fn attention_over_a_number_that_is_not_finite_is_not_finite() {
    let slot = |start, len| Slot { pool: Pool::Work, start, len };
    // Two rows behind three cached positions; the second row sees all five keys.
    let segments = [Segment { row: 0, rows: 2, cached: 3, keys: 0, values: 6, stride: 6 }];
    let op = Op::Attention {
        q: slot(0, 4),
        k: slot(4, 4),
        v: slot(8, 4),
        rows: Rows { copies: 1, segments: &segments },
        cache_layer: 0,
        heads: 1,
        kv_heads: 1,
        head_dim: 2,
        out: slot(12, 4),
    };
    each(|device| {
        let mut second_row = |spoil: &mut dyn FnMut(&mut [f32], &mut [f32])| {
            let (mut work, mut cache) = ([0.5; 16], [0.5; 12]);
            spoil(&mut work, &mut cache);
            device.run(&mut Memory { work: &mut work, cache: &mut cache }, &[op]).unwrap();
            [work[14], work[15]]
        };
        assert_eq!(second_row(&mut |_, _| ()), [0.5, 0.5]);
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 2..12 {
                let out = second_row(&mut |work, _| work[at] = x);
                assert!(out.iter().any(|x| !x.is_finite()), "{x} at {at} of the work memory: {out:?}");
            }
            for at in 0..12 {
                let out = second_row(&mut |_, cache| cache[at] = x);
                assert!(out.iter().any(|x| !x.is_finite()), "{x} at {at} of the cache: {out:?}");
            }
        }
    });
}
