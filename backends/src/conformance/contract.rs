//! What holds between runs: a row's bits do not depend on its batch, a cached position counts like an own one, and what is
//! refused has changed nothing.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::cases::Case;
use super::random::Random;
use super::trial::{Owned, Pools, Trial};
use crate::device::Device;
use crate::op::{Op, Pool, RopePairs, Rows, Segment, Slot};
use crate::weights::{Format, Matrix};

/// Part `index` of `count` equal parts of a slot.
fn part(slot: Slot, index: usize, count: usize) -> Slot {
    let len = slot.len / count;
    Slot { start: slot.start + index * len, len, ..slot }
}

/// The operation on one of its rows alone (for attention, one copy alone), and how many rows there are.
fn alone(op: &Owned, index: usize) -> Option<(Op<'_>, Slot, usize)> {
    Some(match *op {
        Owned::RmsNorm { x, ref weight, eps, out } => {
            let (weight, rows) = (weight.matrix(), x.len / weight.matrix().cols());
            let out = part(out, index, rows);
            (Op::RmsNorm { x: part(x, index, rows), weight, eps, out }, out, rows)
        }
        Owned::Linear { x, ref weight, activation, out, .. } => {
            let (weight, rows) = (weight.matrix(), x.len / weight.matrix().cols());
            let (x, out) = (part(x, index, rows), part(out, index, rows));
            (Op::Linear { x, weight, bias: None, side: &[], activation, out }, out, rows)
        }
        Owned::Attention { qkv, copies, ref segments, cache_layer, heads: [heads, kv_heads, head_dim], out } => {
            let ([q, k, v], out) = (qkv.map(|slot| part(slot, index, copies)), part(out, index, copies));
            let rows = Rows { copies: 1, segments };
            (Op::Attention { q, k, v, rows, cache_layer, heads, kv_heads, head_dim, out }, out, copies)
        }
        Owned::Readout { x, ref head, activation, ref reads, clean, out } => {
            let (head, rows) = (head.matrix(), x.len / head.matrix().cols());
            let (x, out) = (part(x, index, rows), part(out, index, rows));
            let reads = reads.get(index % reads.len()..)?.get(..1)?;
            (Op::Readout { x, head, activation, reads, clean, out }, out, rows)
        }
        _ => return None,
    })
}

/// Runs every row of a case alone and compares the bits with the batch; `None` where the case has no rows to take apart.
pub(super) fn batch_independence<D: Device>(case: &Case, device: &mut D) -> Option<Result<(), String>> {
    let Trial { op, mut pools, out, .. } = case.trial();
    if matches!(&op, Owned::Linear { bias: Some(_), .. }) {
        return None;
    }
    let rows = alone(&op, 0)?.2;
    if rows < 2 {
        return None;
    }
    if let Err(error) = op.with(|op| device.run(&mut pools.memory(), &[op])) {
        return Some(Err(format!("refused: {error}")));
    }
    let together = pools.slice(out).to_vec();
    for index in 0..rows {
        let (op, slot, _) = alone(&op, index)?;
        if let Err(error) = device.run(&mut pools.memory(), &[op]) {
            return Some(Err(format!("row {index} alone was refused: {error}")));
        }
        let start = slot.start - out.start;
        let same = pools.slice(slot).iter().zip(&together[start..]).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same {
            return Some(Err(format!("row {index} has other bits alone than among {rows}")));
        }
    }
    Some(Ok(()))
}

/// The last rows of a sequence have the same bits with the rows before them cached as with all of them run.
pub(super) fn cache_exactness<D: Device>(cached: usize, rows: usize, device: &mut D) -> Result<(), String> {
    let (heads, kv_heads, head_dim) = (4, 2, 32);
    let (random, mut pools) = (&mut Random::of("cache exactness"), Pools::new());
    let (width, kv_dim) = (heads * head_dim, kv_heads * head_dim);
    let [(q, _), (k, keys), (v, values)] = [width, kv_dim, kv_dim].map(|w| pools.normals((cached + rows) * w, random));
    let out = pools.room((cached + rows) * width);
    let [keys, values] = [keys, values].map(|x| pools.put(Pool::Cache, &x[..cached * kv_dim]).start);
    let mut run = |from: usize, cached: usize| {
        let rest =
            |slot: Slot, width: usize| Slot { start: slot.start + from * width, len: slot.len - from * width, ..slot };
        let rows = (q.len / width) - from;
        let segments = [Segment { row: 0, rows, cached, keys, values, stride: cached * kv_dim }];
        let op = Op::Attention {
            q: rest(q, width),
            k: rest(k, kv_dim),
            v: rest(v, kv_dim),
            rows: Rows { copies: 1, segments: &segments },
            cache_layer: 0,
            heads,
            kv_heads,
            head_dim,
            out: rest(out, width),
        };
        let result = device.run(&mut pools.memory(), &[op]).map_err(|e| format!("refused: {e}"));
        result.map(|()| pools.slice(rest(out, width)).iter().map(|x| x.to_bits()).collect::<Vec<_>>())
    };
    let whole = run(0, 0)?;
    let suffix = run(cached, cached)?;
    if whole.ends_with(&suffix) { Ok(()) } else { Err(format!("{cached} cached positions change the bits")) }
}

/// What was discarded disturbs nothing else, and can be written again.
pub(super) fn discarding<D: Device>(device: &mut D) -> Result<(), String> {
    let mut pools = Pools::new();
    // Sums that half precision has too.
    let [a, b, c] = [1.0, 2.0, 4.0].map(|number| pools.put(Pool::Work, &[number; 8]));
    let before = pools.work.clone();
    let ops = [
        Op::Add { x: b, y: a },
        Op::Discard { x: a },
        Op::Copy { x: b, out: a },
        Op::Add { x: c, y: a },
        Op::Discard { x: b },
    ];
    device.run(&mut pools.memory(), &ops).map_err(|error| format!("refused: {error}"))?;
    for (name, slot, expected) in [("a", a, 3.0), ("c", c, 7.0)] {
        if pools.slice(slot) != [expected; 8] {
            return Err(format!("{name} is {:?}, {expected} was expected", pools.slice(slot)));
        }
    }
    let inside = |at: usize| [a, b, c].iter().any(|slot| (slot.start..slot.start + slot.len).contains(&at));
    let same = (0..before.len()).all(|at| inside(at) || before[at].to_bits() == pools.work[at].to_bits());
    if same { Ok(()) } else { Err(String::from("something outside the slots was written")) }
}

/// Operations that a device must refuse: what is wrong, and the operation on 64 numbers of work and 16 of cache.
fn refusals() -> Vec<(&'static str, Owned)> {
    let slot = |start, len| Slot { pool: Pool::Work, start, len };
    let in_cache = |start, len| Slot { pool: Pool::Cache, start, len };
    let tensor = |rows, cols| super::tensor::Tensor::random(Format::F32, rows, cols, 1.0, &mut Random::of("refusals"));
    let linear = |x, out| Owned::Linear {
        x,
        weight: tensor(4, 8),
        bias: None,
        side: Vec::new(),
        activation: crate::op::Activation::F32,
        out,
    };
    let attention = |segment: Segment, out| Owned::Attention {
        qkv: [slot(0, 8), slot(8, 8), slot(16, 8)],
        copies: 1,
        segments: alloc::vec![segment],
        cache_layer: 0,
        heads: [1, 1, 4],
        out,
    };
    let two_rows = Segment { rows: 2, ..Segment::default() };
    let readout = |reads: &[crate::op::Read], clean| Owned::Readout {
        x: slot(0, 8),
        head: tensor(4, 8),
        activation: crate::op::Activation::F32,
        reads: reads.to_vec(),
        clean,
        out: slot(8, 5),
    };
    alloc::vec![
        ("a slot past the end", Owned::Add { x: slot(60, 5), y: slot(0, 5) }),
        ("a slot past the end of the cache", Owned::Copy { x: in_cache(10, 8), out: slot(0, 8) }),
        ("a slot that wraps around", Owned::Copy { x: slot(usize::MAX, 2), out: slot(0, 2) }),
        ("a discarded slot past the end", Owned::Discard { x: slot(60, 5) }),
        ("overlapping slots", Owned::Add { x: slot(0, 8), y: slot(4, 8) }),
        ("the same slot twice", Owned::SwiGlu { gate: slot(0, 8), up: slot(0, 8) }),
        ("input over output", linear(slot(0, 8), slot(7, 4))),
        ("unequal lengths", Owned::Add { x: slot(0, 8), y: slot(8, 7) }),
        ("unequal lengths of a copy", Owned::Copy { x: slot(0, 8), out: in_cache(0, 9) }),
        ("a broken row", linear(slot(0, 9), slot(16, 4))),
        ("too narrow an output", linear(slot(0, 16), slot(16, 7))),
        ("an id outside the table", Owned::Embed { table: tensor(4, 8), ids: alloc::vec![4], out: slot(0, 8) }),
        ("too many ids", Owned::Embed { table: tensor(4, 8), ids: alloc::vec![0, 1], out: slot(0, 8) }),
        ("a norm of another width", Owned::RmsNorm { x: slot(0, 9), weight: tensor(1, 8), eps: 0.0, out: slot(9, 9) }),
        ("a norm with two rows", Owned::RmsNorm { x: slot(0, 8), weight: tensor(2, 4), eps: 0.0, out: slot(8, 8) }),
        ("odd heads", Owned::Rope { x: slot(0, 9), table: slot(9, 3), head_dim: 3, pairs: RopePairs::Halves }),
        (
            "heads that are none",
            Owned::Rope { x: slot(0, 8), table: slot(8, 4), head_dim: 0, pairs: RopePairs::Halves }
        ),
        ("more rows than the segments have", attention(Segment { rows: 1, ..Segment::default() }, slot(24, 8))),
        ("a cache that is too short", attention(Segment { cached: 3, values: 8, ..two_rows }, slot(24, 8))),
        ("attention onto its queries", attention(two_rows, slot(4, 8))),
        (
            "a row outside its copy",
            Owned::Gather { x: slot(0, 8), per_copy: 2, rows: alloc::vec![2], copies: 1, out: slot(8, 4) },
        ),
        (
            "an injection outside its copy",
            Owned::Inject { x: slot(0, 8), per_copy: 2, copies: 1, rows: alloc::vec![2], delta: alloc::vec![1.0; 4] },
        ),
        (
            "a δ of another width",
            Owned::Inject { x: slot(0, 8), per_copy: 2, copies: 1, rows: alloc::vec![0], delta: alloc::vec![1.0; 3] },
        ),
        ("a target outside the vocabulary", readout(&[crate::op::Read::Target(4)], in_cache(0, 0))),
        ("a divergence from nothing", readout(&[crate::op::Read::Divergence(0)], in_cache(0, 0))),
        ("a divergence from a row that is not there", readout(&[crate::op::Read::Divergence(1)], in_cache(0, 4))),
        ("reads of nothing", readout(&[], in_cache(0, 4))),
    ]
}

/// Names of the refusals that a device gets wrong, with what it did.
pub(super) fn wrong_refusals<D: Device>(device: &mut D) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    for (name, op) in refusals() {
        let mut pools = Pools { work: alloc::vec![0.5; 64], cache: alloc::vec![0.25; 16] };
        let result = op.with(|op| device.run(&mut pools.memory(), &[op]));
        if result.is_ok() {
            wrong.push((name, String::from("was not refused")));
        } else if pools.work != [0.5; 64] || pools.cache != [0.25; 16] {
            wrong.push((name, String::from("was refused after something had been written")));
        }
    }
    let mut work = [0.5; 64];
    let bytes = [0u8; 34];
    let weight = Matrix::new(Format::Q8_0, 1, 32, &bytes).expect("one block");
    for (scale, product) in [0.0, -1.0, f32::NAN, f32::INFINITY].into_iter().flat_map(|bad| [(bad, 1.0), (1.0, bad)]) {
        let (x, out) = (Slot { pool: Pool::Work, start: 0, len: 32 }, Slot { pool: Pool::Work, start: 32, len: 1 });
        let activation = crate::op::Activation::A16Static { scale, product };
        let op = Op::Linear { x, weight, bias: None, side: &[], activation, out };
        if device.run(&mut crate::device::Memory { work: &mut work, cache: &mut [] }, &[op]).is_ok() {
            wrong.push((
                "a static scale that is no positive number",
                format!("{scale}, with {product} for the product, was not refused"),
            ));
        }
    }
    wrong
}
