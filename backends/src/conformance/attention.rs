//! Trials of attention over cached and own rows.

use alloc::vec::Vec;

use super::random::Random;
use super::trial::{EPSILON, Expected, Owned, Pools, Trial, sum_error};
use crate::op::{Pool, Segment};

/// Sizes of an attention.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of Op::Attention")]
pub struct Attention {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub copies: usize,
    pub cache_layer: usize,
    /// Cached positions and own rows of each segment.
    pub segments: &'static [(usize, usize)],
}

/// Attention with random queries, keys, values and cache.
pub(super) fn attention(p: Attention, random: &mut Random) -> Trial {
    let mut pools = Pools::new();
    let (width, kv_dim) = (p.heads * p.head_dim, p.kv_heads * p.head_dim);
    let (mut segments, mut per_copy) = (Vec::new(), 0);
    for &(cached, rows) in p.segments {
        let stride = cached * kv_dim;
        let [keys, values] =
            [(); 2].map(|()| pools.put(Pool::Cache, &random.normals((p.cache_layer + 2) * stride)).start);
        segments.push(Segment { row: per_copy, rows, cached, keys, values, stride });
        per_copy += rows;
    }
    let rows = p.copies * per_copy;
    let qkv = [width, kv_dim, kv_dim].map(|w| pools.normals(rows * w, random).0);
    let out = pools.room(rows * width);
    let mut expected = Vec::new();
    for row in 0..rows {
        let segment = segments.iter().rfind(|s| s.row <= row % per_copy).expect("the row is in a segment");
        let first = row - (row % per_copy - segment.row);
        for head in 0..p.heads {
            let at = head * p.kv_heads / p.heads * p.head_dim;
            let sequence = |own: usize, cached: usize| {
                let cached = cached + p.cache_layer * segment.stride;
                let cached = pools.cache[cached..cached + segment.cached * kv_dim].chunks(kv_dim);
                let own = pools.slice(qkv[own])[first * kv_dim..(row + 1) * kv_dim].chunks(kv_dim);
                cached.chain(own).map(|x| &x[at..at + p.head_dim]).collect::<Vec<_>>()
            };
            let q = &pools.slice(qkv[0])[row * width + head * p.head_dim..][..p.head_dim];
            expected.extend(one_head(q, &sequence(1, segment.keys), &sequence(2, segment.values)));
        }
    }
    let heads = [p.heads, p.kv_heads, p.head_dim];
    let op = Owned::Attention { qkv, copies: p.copies, segments, cache_layer: p.cache_layer, heads, out };
    Trial { op, pools, out, expected }
}

fn one_head(q: &[f32], keys: &[&[f32]], values: &[&[f32]]) -> Vec<Expected> {
    let scale = libm::sqrt(q.len() as f64);
    let terms = |key: &[f32]| q.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k) / scale).collect::<Vec<_>>();
    let scores: Vec<f64> = keys.iter().map(|key| terms(key).iter().sum()).collect();
    let magnitudes = keys.iter().map(|key| terms(key).iter().map(|t| t.abs()).sum());
    let score_error = magnitudes.fold(0.0, f64::max) * sum_error(q.len());
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| libm::exp(s - most)).collect();
    let total: f64 = weights.iter().sum();
    // Each weight is off by its score's error and the exponential's, and so is their sum.
    let error = 2.0 * score_error + 2.0 * sum_error(keys.len()) + 16.0 * EPSILON;
    (0..q.len())
        .map(|i| {
            let terms = || weights.iter().zip(values).map(|(w, v)| w / total * f64::from(v[i]));
            Expected { value: terms().sum(), bound: terms().map(f64::abs).sum::<f64>() * error }
        })
        .collect()
}
