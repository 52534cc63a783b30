//! Rotary position embedding from a table of cosines and sines. Computes no angle.

use mobiedit_backends::op::RopePairs;

use super::rows::by_rows_mut;

/// Turns the pairs of every head of one row in place. `x`, `(heads, head_dim)`; `table`, `(head_dim)`: cosines, then sines.
pub(crate) fn rope(x: &mut [f32], table: &[f32], pairs: RopePairs) {
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
