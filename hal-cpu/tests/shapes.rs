//! The threaded device against the scalar one, bit by bit, at the sizes where its tiles, panels, parts and groups end.

#![cfg(feature = "std")]

use mobiedit_backends::device::{Device, Memory};
use mobiedit_backends::op::{Activation, Op, Pool, Rows, Segment, Slot};
use mobiedit_backends::weights::{Format, Matrix};
use mobiedit_hal_cpu::{Cpu, FastCpu, Level, Scratch, ScratchBuffers, ScratchLens};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const QUANTISED: [Format; 5] = [Format::Q8_0, Format::Q4_0, Format::Q4K, Format::Q5K, Format::Q6K];

/// Random blocks whose halves are small numbers.
fn random_weights(format: Format, rows: usize, cols: usize, random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let mut bytes = vec![0; rows * cols / format.block_len() * format.block_bytes()];
    random.fill_bytes(&mut bytes);
    let last = format.block_bytes() - 2;
    let halves = match format {
        Format::Q8_0 | Format::Q4_0 => vec![0],
        Format::Q4K | Format::Q5K => vec![0, 2],
        _ => vec![last],
    };
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for at in &halves {
            // Exponents of 2⁻⁹ to 2⁻², and any sign.
            block[at + 1] = block[at + 1] & 0x9f | 0x18;
        }
    }
    bytes
}

fn products<D: Device>(device: &mut D, weight: Matrix<'_>, x: &[f32], activation: Activation) -> Vec<u32> {
    let rows = x.len() / weight.cols();
    let mut work = x.to_vec();
    work.resize(x.len() + rows * weight.rows(), f32::NAN);
    let slot = |start, len| Slot { pool: Pool::Work, start, len };
    let (x, out) = (slot(0, x.len()), slot(x.len(), rows * weight.rows()));
    let op = Op::Linear { x, weight, bias: None, side: &[], activation, out };
    let ran = device.run(&mut Memory { work: &mut work, cache: &mut [] }, &[op]);
    assert!(ran.is_ok(), "{ran:?}");
    work.drain(..out.start);
    work.iter().map(|x| x.to_bits()).collect()
}

fn same_bits(rows: usize, inputs: usize, outputs: usize, random: &mut Xoshiro256PlusPlus) {
    let x: Vec<f32> = (0..rows * inputs).map(|_| (random.next_u32() as f32 / u32::MAX as f32 - 0.5) * 8.0).collect();
    for format in QUANTISED.into_iter().filter(|format| inputs.is_multiple_of(format.block_len())) {
        let bytes = random_weights(format, outputs, inputs, random);
        compare(Matrix::new(format, outputs, inputs, &bytes).unwrap(), &x, Activation::A16);
    }
}

/// Compares each level of this CPU with the scalar device.
fn compare(weight: Matrix<'_>, x: &[f32], activation: Activation) {
    let (format, rows, inputs, outputs) = (weight.format(), x.len() / weight.cols(), weight.cols(), weight.rows());
    let mut buffers = ScratchBuffers::new(ScratchLens::with(inputs, 1, 16));
    let scalar: Scratch<'_> = buffers.lend();
    let expected = products(&mut Cpu::new(scalar), weight, x, activation);
    assert!(expected.iter().all(|bits| f32::from_bits(*bits).is_finite()));
    for level in Level::ALL {
        let Some(mut cpu) = FastCpu::with_level(level) else { continue };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let got = pool.install(|| products(&mut cpu, weight, x, activation));
        assert!(got == expected, "{level:?}, {format:?}, {rows} rows, {inputs} inputs, {outputs} outputs");
    }
}

#[test]
fn any_number_of_rows() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    for rows in 1..=26 {
        same_bits(rows, 256, 40, &mut random);
    }
}

#[test]
fn any_number_of_inputs() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
    for inputs in [32, 64, 96, 480, 512, 544, 768, 1024, 1056, 1280] {
        same_bits(13, inputs, 33, &mut random);
    }
}

#[test]
fn any_number_of_outputs() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    for outputs in [1, 31, 32, 33, 64, 127, 129, 511, 512, 513, 1100] {
        same_bits(3, 256, outputs, &mut random);
    }
}

/// Four heads of which two share keys, over cached positions and own ones.
#[test]
fn attention_over_any_number_of_positions() {
    const HEADS: [usize; 3] = [4, 2, 24];
    let [heads, kv_heads, head_dim] = HEADS;
    let (width, kv) = (heads * head_dim, kv_heads * head_dim);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
    let mut numbers =
        |len: usize| -> Vec<f32> { (0..len).map(|_| random.next_u32() as f32 / u32::MAX as f32 - 0.5).collect() };
    for (rows, cached) in (1..=9).flat_map(|rows| (0..=9).map(move |cached| (rows, cached))) {
        let input = numbers(rows * (width + 2 * kv));
        let mut cache = numbers(2 * cached * kv);
        let slot = |start, len| Slot { pool: Pool::Work, start, len };
        let [q, k, v] = [slot(0, rows * width), slot(rows * width, rows * kv), slot(rows * (width + kv), rows * kv)];
        let out = slot(input.len(), rows * width);
        let segments = [Segment { row: 0, rows, cached, keys: 0, values: cached * kv, stride: 0 }];
        let rows = Rows { copies: 1, segments: &segments };
        let op = Op::Attention { q, k, v, rows, cache_layer: 0, heads, kv_heads, head_dim, out };
        let mut run = |device: &mut dyn FnMut(&mut Memory<'_>, &Op<'_>)| -> Vec<u32> {
            let mut work = input.clone();
            work.resize(out.start + out.len, f32::NAN);
            device(&mut Memory { work: &mut work, cache: &mut cache }, &op);
            work.drain(..out.start);
            work.iter().map(|x| x.to_bits()).collect()
        };
        let mut buffers = ScratchBuffers::new(ScratchLens::with(1, 18, 1));
        let mut scalar = Cpu::new(buffers.lend());
        let expected = run(&mut |memory, op| scalar.run(memory, &[*op]).unwrap());
        assert!(expected.iter().all(|bits| f32::from_bits(*bits).is_finite()));
        for mut cpu in Level::ALL.into_iter().filter_map(FastCpu::with_level) {
            let got = run(&mut |memory, op| cpu.run(memory, &[*op]).unwrap());
            assert_eq!(got, expected, "{:?}, {segments:?}", cpu.level());
        }
    }
}

/// More activations than a cache holds: parts are taken in another order.
#[test]
fn many_rows() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(4);
    same_bits(300, 1280, 300, &mut random);
}

/// The largest numbers, and those where an activation's bytes change their signs.
#[test]
fn edges_of_bytes() {
    let edges = [32767, 32640, 32639, 257, 256, 255, 129, 128, 127, 1, 0].map(|level| level as f32);
    let edges: Vec<f32> = edges.into_iter().chain(edges.map(|level| -level)).collect();
    let (inputs, outputs) = (256, 3);
    // A row of each number alone, then all of them in turn.
    let alone = edges.iter().flat_map(|level| vec![*level; inputs]);
    let x: Vec<f32> = alone.chain(edges.iter().copied().cycle().take(5 * inputs)).collect();
    for levels in [[-128_i8; 2], [127; 2], [-128, 127]] {
        let [first, second] = levels.map(|level| level as u8);
        let mut bytes = vec![0; outputs * inputs / 32 * 34];
        for block in bytes.chunks_exact_mut(34) {
            block[..2].copy_from_slice(&0x3c00_u16.to_le_bytes()); // A scale of 1.
            for pair in block[2..].chunks_exact_mut(2) {
                pair.copy_from_slice(&[first, second]);
            }
        }
        let weight = Matrix::new(Format::Q8_0, outputs, inputs, &bytes).unwrap();
        compare(weight, &x, Activation::A16Static { scale: 1.0, product: 1.0 });
    }
}
