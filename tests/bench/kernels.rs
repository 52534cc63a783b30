//! Each operation of a decoder layer on the CPU, at the sizes of real models, beside what the machine can multiply in registers:
//! `cargo xtask bench kernels`. A table of medians follows criterion's own lines.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use mobiedit::backends::device::{Device, Memory};
use mobiedit::backends::op::{Activation, Op, Pool, Rows, Segment, Slot};
use mobiedit::backends::weights::{Format, Matrix};
use mobiedit::hal_cpu::{FastCpu, Level};
use mobiedit::host::synthetic::{SHAPES, random_matrix};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Rows of a batch: one token, a tile, a step's rows with a few prompts, a prompt of llama.cpp's batch.
const ROWS: [usize; 4] = [1, 8, 64, 512];

/// What was measured: its name, multiply-accumulates, and seconds of the fastest sample.
struct Row {
    name: String,
    products: u64,
    seconds: f64,
    threads: usize,
}

fn main() {
    let filtered = std::env::args().skip(1).any(|argument| !argument.starts_with('-'));
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    let mut rows = Vec::new();
    for threads in [1, 2] {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        products(&mut criterion, &pool, &mut rows);
    }
    criterion.final_summary();
    let peaks = [1, 2].map(|threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| FastCpu::detect().peak(1.0))
    });
    let level = Level::detect();
    println!(
        "\n{level:?}: in registers {:.1} G products a second on 1 thread, {:.1} on 2",
        peaks[0] / 1e9,
        peaks[1] / 1e9
    );
    println!("{:<52} {:>7} {:>9} {:>8}", "operation", "threads", "G/s", "of peak");
    for Row { name, products, seconds, threads } in rows {
        let speed = products as f64 / seconds;
        let peak = peaks.get(threads - 1).copied().unwrap_or(f64::INFINITY);
        println!("{name:<52} {threads:>7} {:>9.1} {:>6.1} %", speed / 1e9, 100.0 * speed / peak);
    }
    if filtered {
        println!("(some were left out by the filter)");
    }
}

/// The shapes' linear layers, in each format, and their attention.
fn products(criterion: &mut Criterion, pool: &ThreadPool, rows: &mut Vec<Row>) {
    for shape in &SHAPES {
        let (d, ff) = (shape.d_model, shape.d_ff);
        for (part, inputs, outputs) in [("q", d, shape.heads * shape.head_dim), ("gate", d, ff), ("down", ff, d)] {
            for format in [Format::Q8_0, Format::Q4K] {
                if !inputs.is_multiple_of(format.block_len()) {
                    continue;
                }
                let bytes = random_matrix(format, outputs, inputs, 1);
                let weight = Matrix::new(format, outputs, inputs, &bytes).expect("whole rows");
                for count in ROWS {
                    let slot = |start, len| Slot { pool: Pool::Work, start, len };
                    let (x, out) = (slot(0, count * inputs), slot(count * inputs, count * outputs));
                    let op = Op::Linear { x, weight, bias: None, side: &[], activation: Activation::A16, out };
                    let name = format!("{} {part} {format:?}, {count} rows", shape.name);
                    measure(criterion, pool, rows, &name, (count * inputs * outputs) as u64, x.len + out.len, &op);
                }
            }
        }
        let width = shape.heads * shape.head_dim;
        let kv = shape.kv_heads * shape.head_dim;
        for count in ROWS {
            let slot = |start, len| Slot { pool: Pool::Work, start, len };
            let [q, k, v, out] = [
                slot(0, count * width),
                slot(count * width, count * kv),
                slot(count * (width + kv), count * kv),
                slot(count * (width + 2 * kv), count * width),
            ];
            let segments = [Segment { rows: count, ..Segment::default() }];
            let op = Op::Attention {
                q,
                k,
                v,
                rows: Rows { copies: 1, segments: &segments },
                cache_layer: 0,
                heads: shape.heads,
                kv_heads: shape.kv_heads,
                head_dim: shape.head_dim,
                out,
            };
            let products = (count * (count + 1) * width) as u64;
            let name = format!("{} attention, {count} rows", shape.name);
            measure(criterion, pool, rows, &name, products, out.start + out.len, &op);
        }
    }
}

fn measure(
    criterion: &mut Criterion,
    pool: &ThreadPool,
    rows: &mut Vec<Row>,
    name: &str,
    products: u64,
    len: usize,
    op: &Op<'_>,
) {
    let threads = pool.current_num_threads();
    let mut device = FastCpu::detect();
    let mut work: Vec<f32> = (0..len).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let mut best = f64::INFINITY;
    let mut group = criterion.benchmark_group("cpu");
    group.throughput(Throughput::Elements(products));
    group.bench_function(BenchmarkId::new(name, threads), |bencher| {
        bencher.iter_custom(|times| {
            let all = pool.install(|| {
                let start = Instant::now();
                for _ in 0..times {
                    let mut memory = Memory { work: black_box(&mut work), cache: &mut [] };
                    device.run(&mut memory, core::slice::from_ref(op)).expect("shapes that fit");
                }
                start.elapsed()
            });
            best = best.min(all.as_secs_f64() / times as f64);
            all
        });
    });
    group.finish();
    if best.is_finite() {
        rows.push(Row { name: name.to_owned(), products, seconds: best, threads });
    }
}
