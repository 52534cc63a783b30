//! An edit of any numbers as an adapter: what was written is what a reader finds. And the reader's files from anywhere.

use std::fs;
use std::path::Path;

use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::model::Architecture;
use mobiedit::backends::weights::Format;
use mobiedit::core::RankOne;
use mobiedit::host::export::{gguf_lora, peft};
use safetensors::SafeTensors;

use super::input::Input;
use super::{gguf, limit, moment};

/// Reads a file as an adapter, and writes an adapter of these bytes' numbers.
pub fn run(bytes: &[u8]) {
    let parsed = limit::within(0, "parsing", || Gguf::parse(bytes).is_ok());
    if parsed {
        return gguf::run(bytes);
    }
    let mut input = Input::new(bytes);
    let layer = input.size();
    let (u, lambda) = (numbers(&mut input), numbers(&mut input));
    let patch = RankOne { layer, u: &u, lambda: &lambda };
    let folder = moment::folder();
    as_gguf(&folder.path().join("adapter.gguf"), patch);
    as_peft(&folder.path().join("adapter"), patch);
}

/// At least one number of any bits.
fn numbers(input: &mut Input<'_>) -> Vec<f32> {
    let count = 1 + input.below(40);
    (0..count).map(|_| f32::from_bits(input.word())).collect()
}

fn of_bits(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_bits().to_le_bytes()).collect()
}

fn as_gguf(path: &Path, patch: RankOne<'_>) {
    gguf_lora(path, Architecture::Llama, patch).expect("a file of a moment");
    let bytes = fs::read(path).expect("it was just written");
    let file = Gguf::parse(&bytes).expect("a file of ours");
    for (part, dims, numbers) in
        [("lora_a", [patch.u.len(), 1], patch.u), ("lora_b", [1, patch.lambda.len()], patch.lambda)]
    {
        let tensor = file.tensor(&format!("blk.{}.ffn_down.weight.{part}", patch.layer)).expect("it was written");
        assert_eq!((tensor.dims(), tensor.format()), (&dims[..], Some(Format::F32)));
        assert_eq!(tensor.bytes(), of_bits(numbers));
    }
}

fn as_peft(folder: &Path, patch: RankOne<'_>) {
    peft(folder, patch).expect("a folder of a moment");
    let bytes = fs::read(folder.join("adapter_model.safetensors")).expect("it was just written");
    let file = SafeTensors::deserialize(&bytes).expect("a file of ours");
    let prefix = format!("base_model.model.model.layers.{}.mlp.down_proj", patch.layer);
    for (part, shape, numbers) in
        [("lora_A", [1, patch.u.len()], patch.u), ("lora_B", [patch.lambda.len(), 1], patch.lambda)]
    {
        let tensor = file.tensor(&format!("{prefix}.{part}.weight")).expect("it was written");
        assert_eq!((tensor.shape(), tensor.data()), (&shape[..], &of_bits(numbers)[..]));
    }
}

/// An adapter as it is exported, and numbers of all kinds.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let folder = moment::folder();
    let path = folder.path().join("adapter.gguf");
    let patch = RankOne { layer: 3, u: &[1.5, -0.25, 1e-30, f32::MAX], lambda: &[f32::MIN_POSITIVE, 3.0] };
    gguf_lora(&path, Architecture::Qwen2, patch).expect("a file of a moment");
    let numbers = [f32::NAN, f32::INFINITY, -0.0, f32::from_bits(1)];
    vec![
        ("exported", fs::read(&path).expect("it was just written")),
        ("numbers", [&[5, 1, 0, 3][..], &of_bits(&numbers), &[1], &of_bits(&numbers)].concat()),
        ("last-layer", vec![0; 4]),
    ]
}
