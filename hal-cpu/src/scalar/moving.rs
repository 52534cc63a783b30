//! Operations that only move, turn or add rows.

use mobiedit_backends::dequant::dequantize_row;

use super::rope::rope;
use crate::checked::Moving;

/// Runs one of them.
pub(crate) fn run(op: Moving<'_>) {
    match op {
        Moving::Embed { table, ids, out } => {
            for (id, out) in ids.iter().zip(out.chunks_exact_mut(table.cols())) {
                dequantize_row(table.format(), table.row(*id as usize), out);
            }
        }
        Moving::Rope { x, table, head_dim, pairs } => {
            let width = x.len() / (table.len() / head_dim).max(1);
            for (x, table) in x.chunks_exact_mut(width.max(1)).zip(table.chunks_exact(head_dim)) {
                rope(x, table, pairs);
            }
        }
        Moving::Add { x, y } => add(x, y),
        Moving::Copy { x, out } => out.copy_from_slice(x),
        Moving::Inject { x, per_copy, rows, width, delta } => inject(x, per_copy, rows, width, delta),
        Moving::Gather { x, per_copy, rows, width, out } => gather(x, per_copy, rows, width, out),
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
    for (copy, delta) in x.chunks_exact_mut(per_copy * width).zip(delta.chunks_exact(width)) {
        for &row in rows {
            let start = row as usize * width;
            add(copy.get_mut(start..start + width).unwrap_or(&mut []), delta);
        }
    }
}

/// `out[c][i] = x[c][rows[i]]`. `x`, `(copies, per_copy, width)`; `out`, `(copies, rows, width)`.
fn gather(x: &[f32], per_copy: usize, rows: &[u32], width: usize, out: &mut [f32]) {
    let taken = x.chunks_exact(per_copy * width).flat_map(|copy| {
        rows.iter().map(move |&row| copy.get(row as usize * width..(row as usize + 1) * width).unwrap_or(&[]))
    });
    for (out, x) in out.chunks_exact_mut(width).zip(taken) {
        out.copy_from_slice(x);
    }
}
