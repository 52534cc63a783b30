//! Operations that only move or add rows: add, inject, gather. Copying is the slice's own method.

/// `x ← x + y`.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Adds `delta[c]` to the rows `rows` of copy c. `x`, `(copies, per_copy, width)`; `delta`, `(copies, width)`.
pub(crate) fn inject(x: &mut [f32], per_copy: usize, rows: &[u32], width: usize, delta: &[f32]) {
    for (copy, delta) in x.chunks_exact_mut(per_copy * width).zip(delta.chunks_exact(width)) {
        for &row in rows {
            let start = row as usize * width;
            add(copy.get_mut(start..start + width).unwrap_or(&mut []), delta);
        }
    }
}

/// `out[c][i] = x[c][rows[i]]`. `x`, `(copies, per_copy, width)`; `out`, `(copies, rows, width)`.
pub(crate) fn gather(x: &[f32], per_copy: usize, rows: &[u32], width: usize, out: &mut [f32]) {
    let taken = x.chunks_exact(per_copy * width).flat_map(|copy| {
        rows.iter().map(move |&row| copy.get(row as usize * width..(row as usize + 1) * width).unwrap_or(&[]))
    });
    for (out, x) in out.chunks_exact_mut(width).zip(taken) {
        out.copy_from_slice(x);
    }
}
