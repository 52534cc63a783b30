//! Lists of operations on the CPU's devices: the scalar one, which is all that a target without `std` has, and the threaded one
//! on every level of this CPU. They refuse the same lists at the same place, and else have the same bits.
//!
//! The scalar device's code is the same with `std` and without it, but for the feature `fast-math`, so comparing the two devices
//! compares both worlds.

use mobiedit::backends::device::{Device, Memory};
use mobiedit::backends::op::Op;
use mobiedit::hal_cpu::{Cpu, CpuError, FastCpu, Level, ScratchBuffers, ScratchLens};

use super::input::Stream;
use super::ops_drawn::{CACHE, Drawer, Drawn, WIDEST, WORK};

/// Most operations of a list.
const MOST: usize = 12;
/// Positions that the scalar device has room for: more than any list's attention sees.
const POSITIONS: usize = 256;

/// What came of a list: of both pools, every bit.
#[derive(PartialEq)]
struct Outcome {
    result: Result<(), CpuError>,
    bits: Vec<u32>,
}

/// Runs a list on all devices.
pub fn run(bytes: &[u8]) {
    let mut drawer = Drawer::new(bytes);
    let (tile_rows, threads) = (drawer.tile_rows(), drawer.threads());
    let mut memory = vec![0.0; WORK + CACHE];
    drawer.fill(&mut memory);
    let mut list: Vec<Drawn> = Vec::new();
    while drawer.has_more() && list.len() < MOST {
        list.push(drawer.draw());
    }
    let sides: Vec<_> = list.iter().map(Drawn::side).collect();
    let ops: Vec<Op<'_>> = list.iter().zip(&sides).map(|(drawn, side)| drawn.op(side)).collect();
    let mut scratch = ScratchBuffers::new(ScratchLens::with(WIDEST.max(12 * 32), POSITIONS, tile_rows));
    let expected = outcome(&mut Cpu::new(scratch.lend()), &memory, &ops);
    let pool = POOLS.with(|pools| pools[threads - 1].clone());
    for level in Level::ALL {
        let Some(mut device) = FastCpu::with_level(level) else { continue };
        let found = pool.install(|| outcome(&mut device, &memory, &ops));
        assert_eq!(found.result, expected.result, "{level:?}: {ops:?}");
        if found != expected {
            let at = found.bits.iter().zip(&expected.bits).position(|(a, b)| a != b);
            let at = at.unwrap_or_default();
            let [a, b] = [found.bits[at], expected.bits[at]].map(f32::from_bits);
            panic!(
                "{level:?} has {a:e} at {at}, the scalar device {b:e}: {:?}",
                ops.iter().map(shown).collect::<Vec<_>>()
            );
        }
    }
}

thread_local! {
    /// Pools of one to three threads.
    static POOLS: [std::sync::Arc<rayon::ThreadPool>; 3] = [1, 2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        std::sync::Arc::new(pool.expect("threads"))
    });
}

fn outcome(device: &mut impl Device<Error = CpuError>, memory: &[f32], ops: &[Op<'_>]) -> Outcome {
    let (mut work, mut cache) = (memory[..WORK].to_vec(), memory[WORK..].to_vec());
    let result = device.run(&mut Memory { work: &mut work, cache: &mut cache }, ops);
    // No operation promises which NaN it gives.
    let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    Outcome { result, bits: work.iter().chain(&cache).map(bits).collect() }
}

/// An operation without its weights' bytes.
fn shown(op: &Op<'_>) -> String {
    format!("{op:?}").chars().take(600).collect()
}

/// Lists of each operation, and of all of them.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    const NAMES: [&str; 12] = [
        "embed",
        "norm",
        "linear",
        "linear-2",
        "rope",
        "attention",
        "swiglu",
        "add",
        "copy",
        "inject",
        "gather",
        "readout",
    ];
    let mut stream = Stream::new(11);
    let mut seed = |kinds: &[u8]| {
        let mut bytes = vec![0, 1, 2, 3, 4, 15, 0];
        for kind in kinds {
            bytes.extend([*kind, stream.word() as u8, 4, 1, 3]);
            bytes.extend((0..12).map(|_| stream.below(48) as u8));
        }
        bytes
    };
    let mut seeds: Vec<_> = (0..).zip(NAMES).map(|(kind, name)| (name, seed(&[kind]))).collect();
    // Attention of one segment of usize::MAX rows.
    let most_rows = [0, 1, 2, 3, 4, 15, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 3, 0, 31, 1, 0];
    seeds.push(("most-rows-in-no-copy", most_rows.to_vec()));
    seeds.push(("several", seed(&[0, 1, 2, 11, 3, 6])));
    let mut wild = seed(&[2, 11, 1, 5]);
    wild[0] = 3;
    seeds.push(("wild", wild));
    seeds
}
