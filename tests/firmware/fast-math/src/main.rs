//! How many instructions roots, exponentials, logarithms and kernels take on a Cortex-M3, which has no floating-point unit:
//! why the feature `fast-math` replaces what it does. Measures no error: hal-cpu's tests do.
//!
//! Under `qemu-system-arm -icount shift=3` an instruction takes 8 ns, and SysTick, at 25 MHz, counts every fifth.
#![no_std]
#![no_main]

use core::{array::from_fn, hint::black_box};

use cortex_m::peripheral::{SYST, syst::SystClkSource};
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use micromath::F32;
use mobiedit_backends::device::{Device, Memory};
use mobiedit_backends::op::{Activation, Op, Pool, Read, Rows, Segment, Slot};
use mobiedit_backends::weights::{Format, Matrix};
use mobiedit_hal_cpu::{Cpu, Scratch, Statistics};

#[path = "../../../../hal-cpu/src/scalar/exp.rs"]
mod exp;
#[path = "../../../../hal-cpu/src/scalar/exp_integer.rs"]
mod exp_integer;
#[path = "../../../../hal-cpu/src/scalar/fast_math.rs"]
mod fast_math;

const INSTRUCTIONS_PER_TICK: u32 = 5;
const CALLS: u16 = 200;
/// Of RMSNorm and SwiGLU; tokens of the readout.
const WIDTH: usize = 256;
const POSITIONS: usize = 64;
const HEAD_DIM: usize = 16;

type Way = fn(f32) -> f32;

/// Name, range of inputs, and the function as libm, this project, micromath and this project with `fast-math` have it.
const FUNCTIONS: [(&str, [f32; 2], [Way; 4]); 3] = [
    ("exp", [-20.0, 0.0], [libm::expf, exp::exp, |x| F32(x).exp().0, exp_integer::exp]),
    ("1/sqrt", [0.1, 10.0], [exact_scale, exact_scale, newton_scale, exact_scale]),
    ("ln", [1.0, 1000.0], [exact_ln, exact_ln, micromath_ln, micromath_ln]),
];

fn exact_scale(x: f32) -> f32 {
    1.0 / libm::sqrtf(x)
}

/// micromath's estimate, 3.4 % off, and two of Newton's steps: 4.7e-6 off.
fn newton_scale(x: f32) -> f32 {
    let half = 0.5 * x;
    (0..2).fold(F32(x).invsqrt().0, |y, _| y * (1.5 - half * y * y))
}

fn exact_ln(x: f32) -> f32 {
    libm::log(f64::from(x)) as f32
}

fn micromath_ln(x: f32) -> f32 {
    fast_math::ln(f64::from(x)) as f32
}

/// Instructions of `work`.
fn instructions(work: impl FnOnce()) -> u32 {
    let start = SYST::get_current();
    work();
    (start.wrapping_sub(SYST::get_current()) & 0x00ff_ffff) * INSTRUCTIONS_PER_TICK
}

/// Instructions of one call, without those of the loop around it.
fn per_call([from, to]: [f32; 2], way: Way) -> u32 {
    let [calls, loops] = [way, |x| x].map(black_box).map(|way| {
        instructions(|| {
            for i in 0..CALLS {
                black_box(way(from + (to - from) * f32::from(i) / f32::from(CALLS)));
            }
        })
    });
    (calls - loops) / u32::from(CALLS)
}

/// Prints the functions' rows; whether none is faster than the one that `fast-math` takes.
fn functions() -> bool {
    FUNCTIONS.iter().fold(true, |good, &(name, inputs, ways)| {
        let [libm, ours, micromath, chosen] = ways.map(|way| per_call(inputs, way));
        hprintln!("{:8}{:8}{:8}{:11}{:11}{:7} %", name, libm, ours, micromath, chosen, 100 * chosen / ours);
        good && chosen <= libm.min(ours).min(micromath) + INSTRUCTIONS_PER_TICK
    })
}

/// Prints the instructions of whole operations as this build has them; whether they ran.
fn kernels() -> Option<()> {
    let weights: [_; WIDTH * HEAD_DIM] = from_fn(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0).to_le_bytes());
    let weight = Matrix::new(Format::F32, 1, WIDTH, weights.as_flattened().get(..4 * WIDTH)?)?;
    let head = Matrix::new(Format::F32, WIDTH, HEAD_DIM, weights.as_flattened())?;
    let slot = |start, len| Slot { pool: Pool::Work, start, len };
    let (x, y, small, clean) = (slot(0, WIDTH), slot(WIDTH, WIDTH), slot(0, HEAD_DIM), slot(0, 0));
    let stride = POSITIONS * HEAD_DIM;
    let segment = Segment { row: 0, rows: 1, cached: POSITIONS - 1, keys: 0, values: stride, stride };
    let rows = Rows { copies: 1, segments: &[segment] };
    let [q, k, v, out] = [0, 1, 2, 3].map(|i| slot(i * HEAD_DIM, HEAD_DIM));
    let (cache_layer, heads, kv_heads, head_dim) = (0, 1, 1, HEAD_DIM);
    let (activation, reads) = (Activation::F32, &[Read::Target(1)]);
    kernel("RMSNorm of 256", Op::RmsNorm { x, weight, eps: 1e-6, out: y })?;
    kernel("SwiGLU of 256", Op::SwiGlu { gate: x, up: y })?;
    let attention = Op::Attention { q, k, v, rows, cache_layer, heads, kv_heads, head_dim, out };
    kernel("attention, 64 positions of 16", attention)?;
    kernel("readout, 256 tokens of 16", Op::Readout { x: small, head, activation, reads, clean, out: slot(64, 5) })
}

/// Runs one operation on numbers from −4 to 4.
fn kernel(name: &str, op: Op<'_>) -> Option<()> {
    let mut numbers: [_; 2 * WIDTH + 2 * POSITIONS * HEAD_DIM] = from_fn(|i| (i * 29 % 97) as f32 / 12.0 - 4.0);
    let (work, cache) = numbers.split_at_mut(2 * WIDTH);
    let (activations, levels, weights) = (&mut [0; HEAD_DIM], &mut [0; HEAD_DIM], &mut [0.0; HEAD_DIM]);
    let (scales, scores, logits) = (&mut [0.0], &mut [0.0; POSITIONS], &mut [0.0; WIDTH]);
    let statistics = &mut [Statistics::NEW];
    let scratch = Scratch { activations, scales, levels, weights, scores, logits, statistics };
    let (mut device, mut ran) = (Cpu::new(scratch), None);
    let count = instructions(|| ran = device.run(&mut Memory { work, cache }, &[op]).ok());
    hprintln!("{:30}{:9}", name, count);
    ran
}

#[entry]
fn main() -> ! {
    if let Some(mut peripherals) = cortex_m::Peripherals::take() {
        peripherals.SYST.set_clock_source(SystClkSource::Core);
        peripherals.SYST.set_reload(0x00ff_ffff);
        peripherals.SYST.clear_current();
        peripherals.SYST.enable_counter();
    }
    // A loop of two instructions: the clock runs as it should.
    let [short, long] = [100_000, 200_000].map(|turns| instructions(|| cortex_m::asm::delay(turns)));
    hprintln!("instructions    libm    ours  micromath  fast-math  of ours");
    let good = functions() & kernels().is_some() & ((long - short).abs_diff(200_000) <= 2 * INSTRUCTIONS_PER_TICK);
    hprintln!("fast-math: {}", if good { "nothing is faster" } else { "FAILED, or no -icount shift=3" });
    exit(good)
}

/// Ends the emulation.
fn exit(good: bool) -> ! {
    debug::exit(if good { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(false)
}
