//! The arguments of `mobiedit bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use mobiedit::host::synthetic::SHAPES;

use super::{DatasetArg, LayerArg, OutputArgs, PresetArg, RunArgs, parse_layer};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// The presets over the same records: the paper's, ours, and ours in float
    Edit(BenchRunArgs),
    /// From the published method to ours, one difference at a time, over the same records
    Ablation(BenchRunArgs),
    /// What becomes of the model as edits are stacked: those made before, facts that were never edited, and what `verify` measures
    Stack(StackArgs),
    /// What a step costs at the size of a real model, with random weights, beside what this machine can do at most
    Scale(ScaleArgs),
    /// How the cost of a step grows with rows, prompts, directions, layers and the model, with random weights
    Growth(GrowthArgs),
}

/// What the matrices of a synthetic model are stored in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum QuantArg {
    /// 8 bits
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits, the embedding in 6
    #[value(name = "q4_k")]
    Q4K,
}

impl QuantArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
        }
    }
}

/// Steps on models of random weights.
#[derive(Debug, Args)]
pub(crate) struct SyntheticArgs {
    /// What the matrices are stored in
    #[arg(long, value_enum, default_value_t = QuantArg::Q8_0)]
    pub(crate) quant: QuantArg,
    /// Steps that are measured of each size
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) steps: u32,
    /// Where models' files are kept: up to 3.3 GB each
    #[arg(long, value_name = "DIR", default_value = "target/scale")]
    pub(crate) dir: PathBuf,
    /// Rows of a forward pass at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rows: u32,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u16>,
}

/// Records whose fact the model knows, and where they are edited.
#[derive(Debug, Args)]
pub(crate) struct KnownArgs {
    /// Seed of the choice of records and of the searches
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The records to draw from: those whose fact the model knows
    #[arg(long, value_name = "FILE", default_value = "tests/fixtures/data/counterfact_500.json")]
    pub(crate) dataset: PathBuf,
    /// The dataset's layout
    #[arg(long, value_enum, default_value_t = DatasetArg::Counterfact)]
    pub(crate) format: DatasetArg,
    /// The layer to edit, counted from 0, or "auto"
    #[arg(long, default_value = "auto", value_parser = parse_layer, allow_negative_numbers = true)]
    pub(crate) layer: LayerArg,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// The architecture
    #[arg(long, default_value = "qwen2.5-3b", value_parser = clap::builder::PossibleValuesParser::new(SHAPES.map(|shape| shape.name)))]
    pub(crate) shape: String,
    /// Measure the paper's step without cache and batch too: minutes
    #[arg(long)]
    pub(crate) slow: bool,
    #[command(flatten)]
    pub(crate) synthetic: SyntheticArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GrowthArgs {
    /// The architectures: all is varied on the first
    #[arg(long, value_delimiter = ',', default_value = "qwen2.5-0.5b,qwen2.5-3b", value_parser = clap::builder::PossibleValuesParser::new(SHAPES.map(|shape| shape.name)))]
    pub(crate) shapes: Vec<String>,
    /// The plot
    #[arg(long, value_name = "FILE", default_value = "target/scale/growth.svg")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) synthetic: SyntheticArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StackArgs {
    /// Records whose facts are edited, one on top of the other
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=128))]
    pub(crate) records: u8,
    /// Records after which the model is measured, and after as many more
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) every: u8,
    /// Other records, whose facts are never edited and should stay
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) others: u16,
    /// Multiply each patch by this before it is applied: more than 1 ruins the model with fewer edits
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) strength: f32,
    /// Settings of the search
    #[arg(long, value_enum, default_value_t = PresetArg::Default)]
    pub(crate) preset: PresetArg,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    /// The plot
    #[arg(long, value_name = "FILE", default_value = "target/stack.svg")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) model: RunArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchRunArgs {
    /// Records of each of our variants
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) records: usize,
    /// The first so many of them with the variants that take thousands of forward passes an edit
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) slow_records: usize,
    #[command(flatten)]
    pub(crate) known: KnownArgs,
    /// Measure the patches in this file over the same records too: JSON lines with record, layer, u and lambda
    #[arg(long, value_name = "FILE")]
    pub(crate) patches: Vec<PathBuf>,
    /// Where results are kept; the same command goes on from there [default: named
    /// after bench, dataset and seed, in mobiedit-eval]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: RunArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
