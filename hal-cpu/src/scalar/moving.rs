//! Operations that only move, turn or add rows.

use mobiedit_backends::dequant::dequantize_row;

use super::rope::rope;
use super::rows::{by_rows, by_rows_mut};
use crate::checked::Moving;

/// Runs one of them.
pub(crate) fn run(op: Moving<'_>) {
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
        Moving::Inject { x, per_copy, rows, width, delta } => inject(x, per_copy, rows, width, delta),
        Moving::Gather { x, per_copy, rows, width, out } => gather(x, per_copy, rows, width, out),
    }
}

/// `x ← x + y`.
fn copy(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = *x;
    }
}

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
