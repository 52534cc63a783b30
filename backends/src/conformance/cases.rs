//! The cases, as data. A case's id is its parameters; its random numbers are seeded with the id.

use alloc::string::String;
use alloc::vec::Vec;

use super::attention::Attention;
use super::linear::Linear;
use super::random::Random;
use super::readout::Readout;
use super::trial::Trial;
use super::{attention, linear, readout, rowwise};
use crate::op::{Pool, Read, RopePairs};
use crate::weights::Format;

/// What activations look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// About normal.
    Normal,
    /// Nothing but zeros.
    Zero,
    /// One row of zeros among normal ones.
    OneZeroRow,
    /// Whole multiples of the row's int16 step: nothing is rounded.
    Levels,
    /// The largest int16 everywhere, against weights of −128: the largest sums there are.
    Largest,
    /// One number of each row is 3000, as in Qwen2.5's residual stream.
    Outlier,
}

/// How activations are treated, without the static scales' numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Treatment {
    /// [`Activation::F32`](crate::op::Activation::F32).
    F32,
    /// [`Activation::A16`](crate::op::Activation::A16).
    A16,
    /// [`Activation::A16Static`](crate::op::Activation::A16Static) with scales that hold every number.
    Static,
    /// The same with a scale of the input that most numbers saturate.
    Saturating,
}

/// One case.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of Op")]
pub enum Case {
    Embed { format: Format, rows: usize },
    RmsNorm { rows: usize, width: usize, fill: Fill },
    Linear(Linear),
    Rope { rows: usize, heads: usize, head_dim: usize, pairs: RopePairs },
    Attention(Attention),
    SwiGlu { len: usize, stretch: u8 },
    Add { len: usize },
    Copy { from: Pool, to: Pool, len: usize },
    Inject { copies: usize, per_copy: usize, width: usize, rows: &'static [u32] },
    Gather { copies: usize, per_copy: usize, width: usize, rows: &'static [u32] },
    Readout(Readout),
}

/// Every operation must be covered: a device may not declare all cases of one of these unsupported.
pub const REQUIRED: [&str; 11] =
    ["Embed", "RmsNorm", "Linear", "Rope", "Attention", "SwiGlu", "Add", "Copy", "Inject", "Gather", "Readout"];

/// Every format that weights come in.
pub const FORMATS: [Format; 8] =
    [Format::F32, Format::F16, Format::Bf16, Format::Q8_0, Format::Q4_0, Format::Q4K, Format::Q5K, Format::Q6K];

impl Case {
    /// The name that runs this case alone; starts with the operation's.
    pub fn id(&self) -> String {
        let text = match self {
            Self::Linear(p) => alloc::format!("{p:?}"),
            Self::Attention(p) => alloc::format!("{p:?}"),
            Self::Readout(p) => alloc::format!("{p:?}"),
            other => alloc::format!("{other:?}"),
        };
        text.replace(' ', "")
    }

    /// About how many numbers its oracle multiplies: what it costs where an emulator computes in f64.
    pub fn products(&self) -> usize {
        match *self {
            Self::Embed { rows, .. } => rows * 256,
            Self::RmsNorm { rows, width, .. } => rows * width,
            Self::Linear(p) => p.rows * p.inputs * p.outputs,
            Self::Rope { rows, heads, head_dim, .. } => rows * heads * head_dim,
            Self::Attention(p) => {
                let seen = p.segments.iter().map(|&(cached, rows)| rows * (cached + rows)).sum::<usize>();
                2 * p.copies * p.heads * p.head_dim * seen
            }
            Self::SwiGlu { len, .. } | Self::Add { len } | Self::Copy { len, .. } => len,
            Self::Inject { copies, per_copy, width, .. } | Self::Gather { copies, per_copy, width, .. } => {
                copies * per_copy * width
            }
            Self::Readout(p) => p.copies * p.reads.len() * p.inputs * p.vocab,
        }
    }

    pub(super) fn trial(&self) -> Trial {
        let random = &mut Random::of(&self.id());
        match *self {
            Self::Embed { format, rows } => rowwise::embed(format, rows, random),
            Self::RmsNorm { rows, width, fill } => rowwise::rms_norm(rows, width, fill, random),
            Self::Linear(p) => linear::linear(p, random),
            Self::Rope { rows, heads, head_dim, pairs } => rowwise::rope(rows, heads, head_dim, pairs, random),
            Self::Attention(p) => attention::attention(p, random),
            Self::SwiGlu { len, stretch } => rowwise::swiglu(len, f32::from(stretch), random),
            Self::Add { len } => rowwise::add(len, random),
            Self::Copy { from, to, len } => rowwise::copy(from, to, len, random),
            Self::Inject { copies, per_copy, width, rows } => rowwise::inject(copies, per_copy, width, rows, random),
            Self::Gather { copies, per_copy, width, rows } => rowwise::gather(copies, per_copy, width, rows, random),
            Self::Readout(p) => readout::readout(p, random),
        }
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for format in FORMATS {
        cases.extend([1, 7].map(|rows| Case::Embed { format, rows }));
    }
    for (rows, width) in [(1, 64), (7, 100), (64, 256), (3, 3)] {
        let fills = [Fill::Normal, Fill::Zero, Fill::OneZeroRow, Fill::Outlier];
        cases.extend(fills.map(|fill| Case::RmsNorm { rows, width, fill }));
    }
    cases.extend(linear_cases().into_iter().map(Case::Linear));
    for pairs in [RopePairs::Halves, RopePairs::Neighbours] {
        let sizes = [(1, 1, 32), (7, 4, 64), (64, 8, 32), (2, 3, 6)];
        cases.extend(sizes.map(|(rows, heads, head_dim)| Case::Rope { rows, heads, head_dim, pairs }));
    }
    cases.extend(attention_cases().into_iter().map(Case::Attention));
    cases
        .extend([(1, 1), (777, 1), (4096, 1), (500, 5), (500, 40)].map(|(len, stretch)| Case::SwiGlu { len, stretch }));
    cases.extend([1, 777].map(|len| Case::Add { len }));
    for (from, to) in [(Pool::Work, Pool::Work), (Pool::Work, Pool::Cache), (Pool::Cache, Pool::Work)] {
        cases.push(Case::Copy { from, to, len: 99 });
    }
    for (copies, per_copy, width) in [(1, 1, 64), (4, 5, 48), (3, 16, 1)] {
        let rows: &[u32] = if per_copy == 1 { &[0] } else { &[4, 1] };
        cases.push(Case::Inject { copies, per_copy, width, rows });
        cases.push(Case::Gather { copies, per_copy, width, rows });
    }
    cases.extend(readout_cases().into_iter().map(Case::Readout));
    cases
}

fn linear_cases() -> Vec<Linear> {
    let plain = Linear {
        format: Format::Q8_0,
        treatment: Treatment::F32,
        rows: 7,
        inputs: 256,
        outputs: 33,
        bias: false,
        patches: 0,
        fill: Fill::Normal,
    };
    let mut cases = Vec::new();
    for format in FORMATS {
        for treatment in [Treatment::F32, Treatment::A16, Treatment::Static] {
            let sizes = [(1, 256, 16), (7, 512, 33), (64, 768, 20)];
            cases.extend(sizes.map(|(rows, inputs, outputs)| Linear {
                format,
                treatment,
                rows,
                inputs,
                outputs,
                ..plain
            }));
        }
        let all = Linear { format, treatment: Treatment::A16, bias: true, patches: 2, ..plain };
        cases.extend([Fill::Levels, Fill::Zero, Fill::OneZeroRow, Fill::Outlier].map(|fill| Linear { fill, ..all }));
        cases.push(Linear { treatment: Treatment::F32, ..all });
    }
    for format in [Format::F32, Format::F16, Format::Bf16] {
        let sizes = [(1, 1, 1), (5, 172, 64), (3, 40, 100), (9, 17, 5)];
        cases.extend(sizes.map(|(rows, inputs, outputs)| Linear { format, rows, inputs, outputs, ..plain }));
    }
    for format in [Format::Q8_0, Format::Q4_0] {
        cases.push(Linear { format, treatment: Treatment::Saturating, ..plain });
        let narrow = [(1, 32, 1), (2, 64, 15), (13, 32, 17), (30, 96, 48)];
        cases.extend(narrow.map(|(rows, inputs, outputs)| Linear {
            format,
            treatment: Treatment::A16,
            rows,
            inputs,
            outputs,
            ..plain
        }));
    }
    let largest = Linear { treatment: Treatment::A16, fill: Fill::Largest, ..plain };
    cases.extend([(1, 256), (7, 768), (2, 11008)].map(|(rows, inputs)| Linear { rows, inputs, ..largest }));
    cases
}

fn attention_cases() -> Vec<Attention> {
    let segments: [&'static [(usize, usize)]; 5] =
        [&[(0, 1)], &[(0, 7)], &[(5, 1), (0, 3)], &[(1, 4), (40, 2), (7, 9)], &[(17, 64)]];
    let mut cases = Vec::new();
    for (heads, kv_heads, head_dim) in [(4, 4, 32), (8, 2, 32), (4, 1, 64), (6, 3, 10)] {
        for segments in segments {
            let sizes = [(1, 0), (3, 2)];
            cases.extend(sizes.map(|(copies, cache_layer)| Attention {
                heads,
                kv_heads,
                head_dim,
                copies,
                cache_layer,
                segments,
            }));
        }
    }
    cases
}

fn readout_cases() -> Vec<Readout> {
    let mixed: &[Read] =
        &[Read::Target(3), Read::Divergence(0), Read::Target(255), Read::Divergence(1), Read::Target(299)];
    let plain = Readout {
        format: Format::Q8_0,
        treatment: Treatment::A16,
        copies: 2,
        inputs: 256,
        vocab: 1000,
        reads: mixed,
        spread: 20,
        twins: false,
    };
    let mut cases = Vec::new();
    for format in FORMATS {
        cases.extend([Treatment::A16, Treatment::F32].map(|treatment| Readout { format, treatment, ..plain }));
    }
    cases.push(Readout { copies: 1, vocab: 1, reads: &[Read::Target(0), Read::Divergence(0)], ..plain });
    cases.push(Readout { copies: 16, vocab: 300, ..plain });
    cases.push(Readout { copies: 1, vocab: 256, reads: &[Read::Divergence(0)], ..plain });
    cases.push(Readout { spread: 400, ..plain });
    cases.push(Readout { twins: true, ..plain });
    cases
}
