//! Attention as the scalar device has it, four positions at a time: what is loaded of a query or written of an output serves four
//! of them. Sums keep their order, and with it their bits.

use crate::scalar::attention::softmax;
use crate::scalar::functions::sqrt;
use crate::scalar::sums::{dot, dots};
use mobiedit_backends::checked::AttentionInputs;
use mobiedit_backends::rows::{by_rows, by_rows_mut};

/// Positions at a time.
const BLOCK: usize = 4;

/// One row's attention: see [`scalar::attention::attend`](crate::scalar::attention::attend).
#[inline(always)]
pub(crate) fn attend(inputs: &AttentionInputs<'_>, row: usize, scores: &mut [f32], out: &mut [f32]) {
    let AttentionInputs { heads, kv_heads, head_dim, .. } = *inputs;
    let kv_dim = kv_heads * head_dim;
    let view = inputs.view(row);
    let [cached, own] = [view.cached_keys, view.keys].map(|keys| keys.len() / kv_dim.max(1));
    let scores = scores.get_mut(..cached + own).unwrap_or(&mut []);
    let scale = 1.0 / sqrt(head_dim as f32);
    for (head, (q, out)) in by_rows(view.q, head_dim).zip(by_rows_mut(out, head_dim)).enumerate() {
        let at = head * kv_heads / heads.max(1) * head_dim;
        let (of_cached, of_own) = scores.split_at_mut(cached);
        score(q, view.cached_keys, kv_dim, at, scale, of_cached);
        score(q, view.keys, kv_dim, at, scale, of_own);
        softmax(scores);
        out.fill(0.0);
        let (of_cached, of_own) = scores.split_at(cached);
        add_values(of_cached, view.cached_values, kv_dim, at, out);
        add_values(of_own, view.values, kv_dim, at, out);
    }
}

/// Scaled products of a query with keys, `(scores, kv_dim)`, of which the head's begin at `at`.
#[inline(always)]
fn score(q: &[f32], keys: &[f32], kv_dim: usize, at: usize, scale: f32, scores: &mut [f32]) {
    let (blocks, rest) = scores.as_chunks_mut::<BLOCK>();
    let (keys, keys_rest) = keys.split_at(blocks.len() * BLOCK * kv_dim);
    for (scores, keys) in blocks.iter_mut().zip(by_rows(keys, BLOCK * kv_dim)) {
        for (score, product) in scores.iter_mut().zip(dots(q, of_head(keys, kv_dim, at, q.len()))) {
            *score = product * scale;
        }
    }
    for (score, key) in rest.iter_mut().zip(by_rows(keys_rest, kv_dim)) {
        *score = dot(q, key.get(at..at + q.len()).unwrap_or(&[])) * scale;
    }
}

/// Adds values, `(weights, kv_dim)`, times their weights, in ascending order.
#[inline(always)]
fn add_values(weights: &[f32], values: &[f32], kv_dim: usize, at: usize, out: &mut [f32]) {
    let (blocks, rest) = weights.as_chunks::<BLOCK>();
    let (values, values_rest) = values.split_at(blocks.len() * BLOCK * kv_dim);
    for ([w0, w1, w2, w3], values) in blocks.iter().zip(by_rows(values, BLOCK * kv_dim)) {
        let [v0, v1, v2, v3] = of_head(values, kv_dim, at, out.len());
        for ((((out, v0), v1), v2), v3) in out.iter_mut().zip(v0).zip(v1).zip(v2).zip(v3) {
            *out = *out + w0 * v0 + w1 * v1 + w2 * v2 + w3 * v3;
        }
    }
    let head = at..at + out.len();
    for (weight, value) in rest.iter().zip(by_rows(values_rest, kv_dim)) {
        for (out, value) in out.iter_mut().zip(value.get(head.clone()).unwrap_or(&[])) {
            *out += weight * value;
        }
    }
}

/// One head's part of four positions.
#[inline(always)]
fn of_head(rows: &[f32], kv_dim: usize, at: usize, len: usize) -> [&[f32]; BLOCK] {
    let mut parts: [&[f32]; BLOCK] = [&[]; BLOCK];
    for (part, row) in parts.iter_mut().zip(by_rows(rows, kv_dim)) {
        *part = row.get(at..at + len).unwrap_or(&[]);
    }
    parts
}
