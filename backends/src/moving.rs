//! Operations that only move, turn or add rows: in f32, the same bits on every device's host side.

use crate::checked::Moving;
use crate::dequant::dequantize_row;
use crate::op::RopePairs;
use crate::rows::{by_rows, by_rows_mut};

/// Runs one of them.
pub fn run(op: Moving<'_>) {
    match op {
        Moving::Embed { table, ids, out } => {
            for (id, out) in ids.iter().zip(by_rows_mut(out, table.cols())) {
                dequantize_row(table.format(), table.row(*id as usize), out);
            }
        }
        Moving::Rope { x, table, head_dim, pairs } => {
            let width = x.len() / (table.len() / head_dim.max(1)).max(1);
            for (x, table) in by_rows_mut(x, width).zip(by_rows(table, head_dim)) {
                rope(x, table, pairs);
            }
        }
        Moving::Add { x, y } => add(x, y),
        Moving::Copy { x, out } => copy(x, out),
        Moving::Discard { x } if cfg!(debug_assertions) => x.fill(f32::NAN),
        Moving::Discard { .. } => {}
        Moving::Inject { x, per_copy, rows, width, delta } => inject(x, per_copy, rows, width, delta),
        Moving::Gather { x, per_copy, rows, width, out } => gather(x, per_copy, rows, width, out),
    }
}

fn copy(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = *x;
    }
}

/// `x ← x + y`.
fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Adds `delta[c]` to the rows `rows` of copy c. `x`, `(copies, per_copy, width)`; `delta`, `(copies, width)`.
fn inject(x: &mut [f32], per_copy: usize, rows: &[u32], width: usize, delta: &[f32]) {
    for (copy, delta) in by_rows_mut(x, per_copy * width).zip(by_rows(delta, width)) {
        for &row in rows {
            let start = row as usize * width;
            add(copy.get_mut(start..start + width).unwrap_or(&mut []), delta);
        }
    }
}

/// `out[c][i] = x[c][rows[i]]`. `x`, `(copies, per_copy, width)`; `out`, `(copies, rows, width)`.
fn gather(x: &[f32], per_copy: usize, rows: &[u32], width: usize, out: &mut [f32]) {
    let taken = by_rows(x, per_copy * width).flat_map(|copy| {
        rows.iter().map(move |&row| copy.get(row as usize * width..(row as usize + 1) * width).unwrap_or(&[]))
    });
    for (out, x) in by_rows_mut(out, width).zip(taken) {
        copy(x, out);
    }
}

/// Turns the pairs of every head of one row in place. `x`, `(heads, head_dim)`; `table`, `(head_dim)`: cosines, then sines.
fn rope(x: &mut [f32], table: &[f32], pairs: RopePairs) {
    let half = table.len() / 2;
    let (cosines, sines) = table.split_at(half);
    for head in by_rows_mut(x, table.len()) {
        match pairs {
            RopePairs::Halves => {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                    (*a, *b) = turned(*a, *b, *cosine, *sine);
                }
            }
            RopePairs::Neighbours => {
                for (([a, b], cosine), sine) in head.as_chunks_mut().0.iter_mut().zip(cosines).zip(sines) {
                    (*a, *b) = turned(*a, *b, *cosine, *sine);
                }
            }
        }
    }
}

fn turned(a: f32, b: f32, cosine: f32, sine: f32) -> (f32, f32) {
    (a * cosine - b * sine, a * sine + b * cosine)
}
