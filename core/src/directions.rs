//! The random directions u_i of a step, made again from (seed, step, i) whenever they are needed.
//!
//! Knows nothing of losses; what a direction is good for is `estimator`'s affair.

use half::f16;
use rand_core::Rng;

use crate::math::{axpy, axpy_f16, copy, dot, dot_f16, norm, scale};
use crate::rng;

/// How the directions of a step are drawn. All have E[u uᵀ] = I, which makes the estimate of equation (5) unbiased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Directions {
    /// Independent standard normal numbers, as published. Stores one direction.
    Gaussian,
    /// Independent signs. Stores one direction.
    Rademacher,
    /// Gaussian directions made orthogonal to each other within a step, each of norm √d_model. Stores all of a step.
    Orthogonal,
}

impl Directions {
    /// Directions of `count` that have to be stored at once.
    pub(crate) const fn stored(self, count: usize) -> usize {
        match self {
            Self::Gaussian | Self::Rademacher => 1,
            Self::Orthogonal => count,
        }
    }
}

/// Rows that directions are drawn from: what the layers above read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readers<'s> {
    /// `(n, width)`; none: directions are drawn from all of the space.
    pub(crate) rows: &'s [f16],
    /// Part of a direction's expected square norm that is drawn from them, in 0..1.
    pub(crate) part: f32,
    /// Σ over the rows of their square norm.
    pub(crate) energy: f32,
}

impl<'s> Readers<'s> {
    pub(crate) const NONE: Self = Self { rows: &[], part: 0.0, energy: 0.0 };

    pub(crate) fn new(rows: &'s [f16], part: f32) -> Self {
        let energy = rows.iter().map(|x| x.to_f32() * x.to_f32()).sum();
        if part > 0.0 && energy > 0.0 { Self { rows, part, energy } } else { Self::NONE }
    }

    /// `out ← M x`, the covariance of the directions times x: (1 − part) x + part · width / energy · Σ r_j (r_jᵀx).
    pub(crate) fn covariance(&self, x: &[f32], out: &mut [f32]) {
        copy(x, out);
        if self.rows.is_empty() {
            return;
        }
        scale(1.0 - self.part, out);
        let factor = self.part * x.len() as f32 / self.energy;
        for reader in self.rows.chunks_exact(x.len().max(1)) {
            axpy_f16(factor * dot_f16(reader, x), reader, out);
        }
    }

    /// `row ← √(1 − part) · row + √part · √(width / energy) · Σ z_j r_j`, z from the stream: of the same expected norm.
    fn mix(&self, stream: &mut impl Rng, row: &mut [f32]) {
        if self.rows.is_empty() {
            return;
        }
        let width = row.len().max(1);
        scale(libm::sqrtf(1.0 - self.part), row);
        let factor = libm::sqrtf(self.part * width as f32 / self.energy);
        let mut normal = [0.0; 64];
        for readers in self.rows.chunks(normal.len().saturating_mul(width).max(1)) {
            rng::gaussian(stream, &mut normal);
            for (reader, z) in readers.chunks_exact(width).zip(normal) {
                for (out, x) in row.iter_mut().zip(reader) {
                    *out += factor * z * x.to_f32();
                }
            }
        }
    }
}

/// The directions of one step, over lent memory of `kind.stored(count)` rows.
pub(crate) struct Block<'s> {
    kind: Directions,
    seed: u64,
    step: u32,
    width: usize,
    readers: Readers<'s>,
    rows: &'s mut [f32],
}

impl<'s> Block<'s> {
    /// `rows`, `(stored, width)`, is overwritten.
    pub(crate) fn new(
        kind: Directions,
        readers: Readers<'s>,
        seed: u64,
        step: u32,
        width: usize,
        rows: &'s mut [f32],
    ) -> Self {
        let width = width.max(1);
        if kind == Directions::Orthogonal {
            for (index, row) in rows.chunks_exact_mut(width).enumerate() {
                let mut stream = rng::stream(seed, step, index as u32);
                rng::gaussian(&mut stream, row);
                readers.mix(&mut stream, row);
            }
            orthogonalise(rows, width);
        }
        Self { kind, seed, step, width, readers, rows }
    }

    /// What the directions are drawn from.
    pub(crate) fn readers(&self) -> Readers<'s> {
        self.readers
    }

    /// Direction `index`, `(width)`.
    pub(crate) fn direction(&mut self, index: usize) -> &[f32] {
        let mut stream = rng::stream(self.seed, self.step, index as u32);
        match self.kind {
            Directions::Gaussian => rng::gaussian(&mut stream, self.rows),
            Directions::Rademacher => rng::rademacher(&mut stream, self.rows),
            Directions::Orthogonal => return self.rows.chunks_exact(self.width.max(1)).nth(index).unwrap_or(&[]),
        }
        self.readers.mix(&mut stream, self.rows);
        self.rows
    }
}

/// Modified Gram–Schmidt over the rows of a `(rows, width)` block, twice (which is enough for orthogonality to rounding),
/// each row then scaled to norm √width. Rows are at most `width`.
fn orthogonalise(block: &mut [f32], width: usize) {
    let length = libm::sqrtf(width as f32);
    let mut done = 0;
    while let Some((before, rest)) = block.split_at_mut_checked(done) {
        let Some(row) = rest.get_mut(..width) else { return };
        for _ in 0..2 {
            for earlier in before.chunks_exact(width) {
                axpy(-dot(earlier, row) / width as f32, earlier, row);
            }
            let norm = norm(row);
            if norm > 0.0 {
                scale(length / norm, row);
            }
        }
        done += width;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn draw(kind: Directions, count: usize, width: usize) -> Vec<Vec<f32>> {
        let mut rows = vec![0.0; kind.stored(count) * width];
        let mut block = Block::new(kind, Readers::NONE, 42, 9, width, &mut rows);
        (0..count).map(|i| block.direction(i).to_vec()).collect()
    }

    #[test]
    fn orthogonal_blocks_are_orthogonal_and_of_norm_root_d() {
        for (count, width) in [(1, 1), (3, 7), (5, 256), (8, 8)] {
            let rows = draw(Directions::Orthogonal, count, width);
            for (i, a) in rows.iter().enumerate() {
                for (j, b) in rows.iter().enumerate() {
                    let expected = if i == j { width as f32 } else { 0.0 };
                    assert!((dot(a, b) - expected).abs() < 1e-4 * width as f32, "{count} x {width}: {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn any_order_of_asking_gives_the_same_direction() {
        for kind in [Directions::Gaussian, Directions::Rademacher, Directions::Orthogonal] {
            let rows = draw(kind, 4, 33);
            let mut memory = vec![0.0; kind.stored(4) * 33];
            let mut block = Block::new(kind, Readers::NONE, 42, 9, 33, &mut memory);
            for i in [3, 0, 2, 2, 1] {
                assert_eq!(block.direction(i), rows[i], "{kind:?} {i}");
            }
        }
    }

    /// Rows (3, 1, 0, …) and (0, 0, 2, 0, …) stand for M = (1 − p) I + p · width · RᵀR / tr(RᵀR).
    #[test]
    fn readers_shape_the_covariance_of_the_directions() {
        const WIDTH: usize = 6;
        let mut rows = [f16::ZERO; 2 * WIDTH];
        for (at, x) in [(0, 3.0), (1, 1.0), (WIDTH + 2, 2.0)] {
            rows[at] = f16::from_f32(x);
        }
        let (part, energy) = (0.6, 14.0);
        let gram = [[9.0, 3.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 4.0]];
        let readers = Readers::new(&rows, part);
        const STEPS: u32 = 40_000;
        let mut memory = [0.0; WIDTH];
        let mut mean = [[0.0f64; WIDTH]; WIDTH];
        for step in 0..STEPS {
            let mut block = Block::new(Directions::Gaussian, readers, 3, step, WIDTH, &mut memory);
            let u = block.direction(0);
            for (row, x) in mean.iter_mut().zip(u) {
                row.iter_mut().zip(u).for_each(|(m, y)| *m += f64::from(x * y) / f64::from(STEPS));
            }
        }
        for (i, row) in mean.iter().enumerate() {
            for (j, m) in row.iter().enumerate() {
                let of_readers = *gram.get(i).and_then(|row| row.get(j)).unwrap_or(&0.0);
                let even = if i == j { 1.0 - f64::from(part) } else { 0.0 };
                let expected = even + f64::from(part) * WIDTH as f64 * of_readers / energy;
                assert!((m - expected).abs() < 0.05, "{i}, {j}: {m} instead of {expected}");
            }
        }
    }

    /// The first numbers of direction 1 of step 9 from seed 42, as bits: they may never change, on any target, or
    /// checkpoints written before would continue differently. To make new ones, print what the assertion shows.
    #[test]
    fn golden_bits() {
        let bits = |kind| draw(kind, 2, 6)[1].iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(Directions::Gaussian), GAUSSIAN);
        assert_eq!(bits(Directions::Orthogonal), ORTHOGONAL);
        let signs: Vec<_> = draw(Directions::Rademacher, 2, 16)[1].iter().map(|x| *x < 0.0).collect();
        assert_eq!(signs.iter().rev().fold(0u16, |word, &s| word << 1 | u16::from(s)), 49290);
    }

    const GAUSSIAN: [u32; 6] = [1062386051, 1063223200, 3211653479, 3226721538, 1055785552, 1064440183];
    const ORTHOGONAL: [u32; 6] = [1066256451, 1059579800, 3208371537, 3218010640, 3213485021, 3190892685];

    /// The same numbers from a Python script in doubles, written from the documentation of `rng` and of `orthogonalise`.
    #[test]
    fn the_golden_bits_are_what_the_documentation_says() {
        let gaussian = [0.82314319334, 0.87304115368, -0.92946475666, -3.31036429182, 0.46486145578, 0.94557900797];
        let orthogonal = [1.10767386010, 0.65587750721, -0.73384579091, -1.61676209770, -1.07726641250, -0.17300603728];
        for (bits, expected) in [(GAUSSIAN, gaussian), (ORTHOGONAL, orthogonal)] {
            for (bits, expected) in bits.into_iter().zip(expected) {
                let x = f64::from(f32::from_bits(bits));
                assert!((x - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{x} instead of {expected}");
            }
        }
    }
}
