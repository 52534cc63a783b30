//! The sketch of what the layers above an edit read: its bits, which no amount of work memory changes. Runs no operation.

use std::hash::Hasher;

use half::f16;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::identity::Fnv;
use mobiedit_backends::model::{Layer, Model, ModelConfig};
use mobiedit_backends::transformer::{ForwardError, Precision, Transformer};
use mobiedit_hal_cpu::{Cpu, CpuError, Scratch};

/// Compiled in: what reads a file crashes on Hexagon Linux, where Rust's `stat` does not fit zig's C library.
const SMALL: &[u8] = include_bytes!("../../tests/fixtures/small.gguf");

/// `count` readers of the small model in so many elements of work memory.
fn readers(layer: usize, len: usize, work: usize) -> Result<Vec<f16>, ForwardError<CpuError>> {
    let gguf = Gguf::parse(SMALL).unwrap();
    let mut layers = vec![Layer::EMPTY; ModelConfig::read(&gguf).unwrap().spec.layers];
    let model = Model::open(&gguf, &mut layers).unwrap();
    let (mut work, mut out) = (vec![7.0; work], vec![f16::NAN; len]);
    let cpu = Cpu::new(Scratch::default());
    Transformer::new(model, cpu, Precision::W8A16, &mut work, &mut []).readers(layer, &mut out).map(|()| out)
}

/// FNV-1a of the bits of the first readers that were ever made. Other bits are another edit: checkpoints know their readers.
#[test]
fn the_bits_are_those_that_edits_were_made_with() {
    for (layer, count, golden) in [(0, 128, 0x3fc0_0c68_1ad1_4be4), (2, 7, 0x9089_8f93_e70d_b1f1)] {
        for rows in [130, 131, 40, 9, 3] {
            let mut hash = Fnv::default();
            let made = readers(layer, count * 128, rows * 128).unwrap();
            made.iter().for_each(|x| hash.write(&x.to_le_bytes()));
            assert_eq!(hash.finish(), golden, "layer {layer}, {rows} rows of work memory");
        }
    }
    assert!(readers(3, 128, 3 * 128).unwrap().iter().all(|x| *x == f16::ZERO), "nothing is above the last layer");
    assert_eq!(readers(0, 0, 3 * 128), Ok(vec![]));
}

#[test]
fn what_makes_no_readers_is_refused() {
    let small = |need, given| Err(ForwardError::BufferTooSmall { need, given });
    assert_eq!(readers(4, 128, 3 * 128), Err(ForwardError::OutOfRange));
    assert_eq!(readers(0, 129, 3 * 128), small(256, 129));
    assert_eq!(readers(0, 128, 3 * 128 - 1), small(3 * 128, 3 * 128 - 1));
}
