//! Causal attention of one row over the cached positions of its sequence and over the sequence's own rows.
//!
//! Does not write keys and values to the cache: that is the caller's `Copy`.

use super::functions::{exp, sqrt};
use super::sums::{all_finite, dot, max};
use mobiedit_backends::checked::AttentionInputs;
use mobiedit_backends::rows::{by_rows, by_rows_mut};

/// One row's attention, `out`: `(heads, head_dim)`. `scores` has room for every position that the row sees. All sums over
/// positions ascend, cached ones first: a position's bits do not depend on whether it is cached.
#[inline(always)]
pub(crate) fn attend(inputs: &AttentionInputs<'_>, row: usize, scores: &mut [f32], out: &mut [f32]) {
    let AttentionInputs { heads, kv_heads, head_dim, .. } = *inputs;
    let kv_dim = kv_heads * head_dim;
    let view = inputs.view(row);
    let positions = (view.cached_keys.len() + view.keys.len()) / kv_dim.max(1);
    let scores = scores.get_mut(..positions).unwrap_or(&mut []);
    let scale = 1.0 / sqrt(head_dim as f32);
    for (head, (q, out)) in by_rows(view.q, head_dim).zip(by_rows_mut(out, head_dim)).enumerate() {
        let at = head * kv_heads / heads.max(1) * head_dim;
        let keys = by_rows(view.cached_keys, kv_dim).chain(by_rows(view.keys, kv_dim));
        for (score, key) in scores.iter_mut().zip(keys) {
            *score = dot(q, key.get(at..at + head_dim).unwrap_or(&[])) * scale;
        }
        softmax(scores);
        out.fill(0.0);
        let values = by_rows(view.cached_values, kv_dim).chain(by_rows(view.values, kv_dim));
        for (weight, value) in scores.iter().zip(values) {
            for (out, value) in out.iter_mut().zip(value.get(at..at + head_dim).unwrap_or(&[])) {
                *out += weight * value;
            }
        }
    }
}

/// `x ← e^(x − max) / Σ e^(x − max)`, summed in ascending order. NaN where a score is −∞ too, as where it is +∞: an infinite key
/// would otherwise be passed over, and not found.
#[inline(always)]
pub(crate) fn softmax(x: &mut [f32]) {
    let most = if all_finite(x) { max(x) } else { f32::NAN };
    for x in x.iter_mut() {
        *x = exp(*x - most);
    }
    let inverse = 1.0 / x.iter().sum::<f32>();
    for x in x.iter_mut() {
        *x *= inverse;
    }
}
