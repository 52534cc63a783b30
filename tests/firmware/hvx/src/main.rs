//! The integer product of `mobiedit-hal-cpu` on Hexagon's vector unit beside the one in plain Rust: the same bits, and how
//! many instructions each takes under QEMU. Measures no time: an emulator has none.
#![no_std]
#![no_main]

use core::hint::black_box;

use hexagon_start::{Counts, println};
use mobiedit_backends::device::{Device, Memory};
use mobiedit_backends::op::{Activation, Op, Pool, Slot};
use mobiedit_backends::quant::quantize_row_i16;
use mobiedit_backends::weights::{Format, Matrix};
use mobiedit_hal_cpu::integer::BLOCK;
use mobiedit_hal_cpu::{Cpu, Scratch, hvx, integer};

hexagon_start::entry!(main);

const WIDEST: usize = 11008;
const MOST_ROWS: usize = 13;
/// Widest linear layer.
const MOST_LINEAR: usize = 416;
/// Elements that inputs are moved by.
const MOST_SHIFT: usize = 127;
/// All weights and activations: random, or at their limits. −128 and −32768 are such as no rounding gives.
const PAIRS: [Option<(i8, i16)>; 4] = [None, Some((-128, 32767)), Some((-128, -32768)), Some((127, -32767))];

/// One row of weights and rows of activations.
struct Inputs {
    levels: [i8; WIDEST + MOST_SHIFT],
    scales: [f32; WIDEST / BLOCK],
    x: [i16; WIDEST * MOST_ROWS + MOST_SHIFT],
    x_scales: [f32; MOST_ROWS],
}

/// The next number of a linear congruential generator, without its worst bits.
fn next(random: &mut u32) -> u32 {
    *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *random >> 8
}

impl Inputs {
    /// New scales, and new weights and activations, random or all one pair.
    fn fill(&mut self, width: usize, rows: usize, pair: Option<(i8, i16)>, random: &mut u32) {
        self.levels[..width + MOST_SHIFT].fill_with(|| pair.map_or(next(random) as i8, |(w, _)| w));
        self.x[..width * rows + MOST_SHIFT].fill_with(|| pair.map_or(next(random) as i16, |(_, x)| x));
        self.scales[..width / BLOCK].fill_with(|| next(random) as f32 * 1e-9 - 8e-3);
        self.x_scales[..rows].fill_with(|| next(random) as f32 * 1e-9);
    }

    /// Products by plain Rust and by vectors, and what each took, with inputs moved by so many elements.
    fn products(&self, width: usize, rows: usize, shift: usize) -> [([f32; MOST_ROWS], Counts); 2] {
        let (levels, x) = (&self.levels[shift..shift + width], &self.x[shift..shift + width * rows]);
        let (scales, x_scales) = (&self.scales[..width / BLOCK], &self.x_scales[..rows]);
        let [mut scalar, mut vector] = black_box([[0.0; MOST_ROWS]; 2]);
        let start = Counts::now();
        integer::integer_products(levels, scales, x, x_scales, scalar[..rows].iter_mut());
        let by_scalar = start.elapsed();
        let start = Counts::now();
        hvx::integer_products(levels, scales, x, x_scales, vector[..rows].iter_mut());
        let by_vectors = start.elapsed();
        [(scalar, by_scalar), (vector, by_vectors)]
    }
}

/// Cases, and those that differ.
#[derive(Default)]
struct Tally {
    cases: u32,
    wrong: u32,
}

impl Tally {
    fn compare(&mut self, expected: &[f32], found: &[f32], case: core::fmt::Arguments<'_>) {
        self.cases += 1;
        if !expected.iter().zip(found).all(|(a, b)| a.to_bits() == b.to_bits()) {
            self.wrong += 1;
            println!("{case}: {expected:?} is {found:?}");
        }
    }
}

fn main() -> i32 {
    let mut inputs = Inputs {
        levels: [0; WIDEST + MOST_SHIFT],
        scales: [0.0; WIDEST / BLOCK],
        x: [0; WIDEST * MOST_ROWS + MOST_SHIFT],
        x_scales: [0.0; MOST_ROWS],
    };
    let (mut random, mut tally) = (1, Tally::default());
    for width in (BLOCK..=1024).step_by(BLOCK).chain([2048, 4864, WIDEST - BLOCK, WIDEST]) {
        for (rows, pair) in [1, 5, MOST_ROWS].into_iter().flat_map(|rows| PAIRS.map(|pair| (rows, pair))) {
            inputs.fill(width, rows, pair, &mut random);
            for shift in [0, 1, 64, MOST_SHIFT] {
                let [(scalar, _), (vector, _)] = inputs.products(width, rows, shift);
                tally.compare(&scalar, &vector, format_args!("{rows} x {width}, {pair:?}, moved by {shift}"));
            }
        }
    }
    for width in (BLOCK..=MOST_LINEAR).step_by(BLOCK) {
        linear(&mut random, Format::Q8_0, width, &mut tally);
        linear(&mut random, Format::Q4_0, width, &mut tally);
    }
    println!("for each multiplication: scalar instructions, packets; vectors' instructions, packets; ratios");
    for (rows, width) in [1, 8].into_iter().flat_map(|rows| [256, 768, 2048, WIDEST].map(|width| (rows, width))) {
        let [(_, scalar), (_, vector)] = inputs.products(width, rows, 0);
        let each = |count: u32| count as f32 / (width * rows) as f32;
        let [a, b, c, d] = [scalar.instructions, scalar.packets, vector.instructions, vector.packets].map(each);
        println!("{rows} x {width}: {a:.3} {b:.3}; {c:.3} {d:.3}; {:.1} {:.1}", a / c, b / d);
    }
    if tally.wrong > 0 {
        println!("hvx: {} of {} cases differ", tally.wrong, tally.cases);
        return 1;
    }
    println!("hvx: all {} cases have the scalar bits", tally.cases);
    0
}

/// A linear layer of two channels on the device, which has to use vectors, beside plain Rust.
fn linear(random: &mut u32, format: Format, width: usize, tally: &mut Tally) {
    let (rows, stride) = (MOST_ROWS, width / BLOCK * format.block_bytes());
    let mut bytes = [0; 2 * MOST_LINEAR / BLOCK * 34];
    bytes.fill_with(|| next(random) as u8);
    // Scales below 2: an infinite one would hide the others.
    bytes.chunks_mut(format.block_bytes()).for_each(|block| block[1] &= 0xbf);
    let (mut work, mut levels) = ([0.0; MOST_ROWS * (MOST_LINEAR + 2)], [0; MOST_ROWS * MOST_LINEAR]);
    work.fill_with(|| next(random) as i16 as f32);
    let (mut x_scales, mut expected) = ([0.0; MOST_ROWS], [0.0; MOST_ROWS * 2]);
    for ((x, levels), scale) in work.chunks(width).zip(levels.chunks_mut(width)).zip(&mut x_scales) {
        *scale = quantize_row_i16(x, levels);
    }
    let (mut weights, mut scales) = ([0; MOST_LINEAR], [0.0; MOST_LINEAR]);
    for channel in 0..2 {
        integer::unpack_row(format, &bytes[channel * stride..][..stride], &mut weights[..width], &mut scales);
        let column = expected.iter_mut().skip(channel).step_by(2);
        integer::integer_products(&weights[..width], &scales, &levels, &x_scales, column);
    }
    let slot = |start, len| Slot { pool: Pool::Work, start, len };
    let (x, out) = (slot(0, rows * width), slot(rows * width, rows * 2));
    let Some(weight) = Matrix::new(format, 2, width, &bytes[..2 * stride]) else { return tally.wrong += 1 };
    let op = Op::Linear { x, weight, bias: None, side: &[], activation: Activation::A16, out };
    let (activations, scales, numbers) = (&mut levels[..], &mut x_scales[..], &mut scales[..]);
    let mut cpu =
        Cpu::new(Scratch { activations, scales, levels: &mut weights, weights: numbers, ..Default::default() });
    let start = Counts::now();
    let result = cpu.run(&mut Memory { work: &mut work, cache: &mut [] }, &[op]);
    tally.wrong += u32::from(result.is_err() || width >= 128 && start.elapsed().vector == 0);
    tally.compare(&expected, &work[rows * width..][..rows * 2], format_args!("linear, {format:?}, {width} wide"));
}
