//! The gradient estimate of equations (4) and (5), or one that remembers. Does not choose directions and does not evaluate
//! losses.

use crate::directions::Block;
use crate::math::{axpy, dot, scale};

/// How the differences along the directions of a step become one gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Combine {
    /// Their mean, as in the paper's equation (5).
    Mean,
    /// Their sum, as in the published code.
    Sum,
    /// The last step's gradient g, corrected where it is wrong: g ← memory · g, then for every direction in turn, with D_i its
    /// difference, g ← g + (D_i − u_iᵀg) / (u_iᵀMu_i) · Mu_i, the least change in the norm of M⁻¹ (the directions'
    /// covariance) after which g explains D_i (Kaczmarz; in adaptive filtering, normalised least mean squares). A mean takes
    /// all that a step has not measured for 0 and lets its N estimates disturb each other; this keeps what was known.
    Tracked {
        /// What a gradient of the step before still counts, in 0..1: the gradient turns while δ moves.
        memory: f32,
    },
}

/// Where a candidate of a step lies relative to δ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Centre,
    Plus,
    Minus,
}

/// The candidates of a step, in the order in which they are evaluated: per direction (centre,) plus, minus.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stencil {
    pub(crate) directions: usize,
    /// Whether L(v) is evaluated again for every direction.
    pub(crate) centre: bool,
}

impl Stencil {
    /// Candidates per direction.
    pub(crate) const fn per_direction(self) -> usize {
        if self.centre { 3 } else { 2 }
    }

    /// Candidates of a step.
    pub(crate) const fn candidates(self) -> usize {
        self.directions.saturating_mul(self.per_direction())
    }

    /// Direction and side of candidate `index`.
    pub(crate) fn place(self, index: usize) -> (usize, Side) {
        let side = match (self.centre, index % self.per_direction()) {
            (true, 0) => Side::Centre,
            (true, 1) | (false, 0) => Side::Plus,
            _ => Side::Minus,
        };
        (index / self.per_direction(), side)
    }
}

/// The gradient from the differences D_i = (L(v + μu_i) − L(v − μu_i)) / 2μ, directions in their order. Mean and sum overwrite
/// `gradient`, `(d_model)`; `image`, `(d_model)`, is scratch.
///
/// `objectives` are L of the stencil's candidates, in its order.
pub(crate) fn gradient(
    stencil: Stencil,
    combine: Combine,
    mu: f32,
    objectives: &[f32],
    directions: &mut Block<'_>,
    image: &mut [f32],
    gradient: &mut [f32],
) {
    match combine {
        Combine::Mean | Combine::Sum => gradient.fill(0.0),
        Combine::Tracked { memory } => scale(memory, gradient),
    }
    for (index, losses) in objectives.chunks_exact(stencil.per_direction()).enumerate() {
        let [.., plus, minus] = losses else { continue };
        let difference = (plus - minus) / (2.0 * mu);
        let readers = directions.readers();
        let u = directions.direction(index);
        match combine {
            Combine::Mean => axpy(difference / stencil.directions.max(1) as f32, u, gradient),
            Combine::Sum => axpy(difference, u, gradient),
            Combine::Tracked { .. } => {
                readers.covariance(u, image);
                let along = dot(u, image);
                if along > 0.0 {
                    axpy((difference - dot(u, gradient)) / along, image, gradient);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::directions::{Directions, Readers};
    use std::vec;
    use std::vec::Vec;

    const WIDTH: usize = 12;

    /// A smooth function with a known gradient: Σ aᵢ sin(xᵢ) + ½ (Σ xᵢ)².
    fn function(x: &[f64]) -> f64 {
        let sum: f64 = x.iter().sum();
        x.iter().enumerate().map(|(i, x)| (i as f64 * 0.3 - 1.0) * x.sin()).sum::<f64>() + 0.5 * sum * sum
    }

    fn exact_gradient(x: &[f64]) -> Vec<f64> {
        let sum: f64 = x.iter().sum();
        x.iter().enumerate().map(|(i, x)| (i as f64 * 0.3 - 1.0) * x.cos() + sum).collect()
    }

    fn estimate(kind: Directions, combine: Combine, stencil: Stencil, step: u32, at: &[f64]) -> Vec<f32> {
        let mut rows = vec![0.0; kind.stored(stencil.directions) * WIDTH];
        let mut out = vec![0.0; WIDTH];
        measure(kind, combine, stencil, step, at, &mut rows, &mut out);
        out
    }

    /// One step at `at`; leaves its directions in `rows`, and what it makes of `gradient` there.
    fn measure(
        kind: Directions,
        combine: Combine,
        stencil: Stencil,
        step: u32,
        at: &[f64],
        rows: &mut [f32],
        out: &mut [f32],
    ) {
        let mu = 1e-2;
        let mut block = Block::new(kind, Readers::NONE, 11, step, WIDTH, rows);
        let mut losses = Vec::new();
        for candidate in 0..stencil.candidates() {
            let (index, side) = stencil.place(candidate);
            let sign = match side {
                Side::Centre => 0.0,
                Side::Plus => mu,
                Side::Minus => -mu,
            };
            let there: Vec<f64> = at.iter().zip(block.direction(index)).map(|(x, u)| x + f64::from(sign * u)).collect();
            losses.push(function(&there) as f32);
        }
        gradient(stencil, combine, mu, &losses, &mut block, &mut [0.0; WIDTH], out);
    }

    #[test]
    fn the_mean_of_many_estimates_is_the_gradient() {
        let at: Vec<f64> = (0..WIDTH).map(|i| (i as f64 * 0.9).sin()).collect();
        let exact = exact_gradient(&at);
        let length = exact.iter().map(|g| g * g).sum::<f64>().sqrt();
        // Miri would take an hour for as many; the bound allows for fewer.
        const STEPS: u32 = if cfg!(miri) { 20 } else { 4000 };
        for kind in [Directions::Gaussian, Directions::Rademacher, Directions::Orthogonal] {
            for stencil in [Stencil { directions: 3, centre: false }, Stencil { directions: 2, centre: true }] {
                let mut mean = [0.0f64; WIDTH];
                for step in 0..STEPS {
                    for (m, g) in mean.iter_mut().zip(estimate(kind, Combine::Mean, stencil, step, &at)) {
                        *m += f64::from(g) / f64::from(STEPS);
                    }
                }
                // Standard deviation of a component of the mean: at most ‖g‖ √(2 / (N · steps)).
                let bound = 5.0 * length * (2.0 / (stencil.directions as f64 * f64::from(STEPS))).sqrt();
                for (m, g) in mean.iter().zip(&exact) {
                    assert!((m - g).abs() < bound, "{kind:?} {stencil:?}: {m} instead of {g}, bound {bound}");
                }
            }
        }
    }

    /// Steps at one place, where the gradient stands still: tracked, it is found but for what differences leave, every step explains
    /// what it has measured; the mean of as many steps is still off by more than a fifth.
    #[test]
    fn a_tracked_gradient_comes_to_the_exact_one() {
        let at: Vec<f64> = (0..WIDTH).map(|i| (i as f64 * 0.9).sin()).collect();
        let exact = exact_gradient(&at);
        let off = |g: &[f32]| {
            let square = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>();
            let apart = square(&mut g.iter().zip(&exact).map(|(g, e)| f64::from(*g) - e));
            (apart / square(&mut exact.iter().copied())).sqrt()
        };
        let stencil = Stencil { directions: 3, centre: false };
        let (tracked, kind) = (Combine::Tracked { memory: 1.0 }, Directions::Orthogonal);
        let (mut g, mut mean) = ([0.0; WIDTH], [0.0; WIDTH]);
        for step in 0..40 {
            let before = off(&g);
            let mut rows = [0.0; 3 * WIDTH];
            measure(kind, tracked, stencil, step, &at, &mut rows, &mut g);
            assert!(off(&g) <= before + 1e-3, "step {step}: {} after {before}", off(&g));
            let of_step = estimate(kind, Combine::Mean, stencil, step, &at);
            mean.iter_mut().zip(&of_step).for_each(|(m, g)| *m += g / 40.0);
            for u in rows.chunks_exact(WIDTH) {
                let slope: f64 = u.iter().zip(&exact).map(|(u, e)| f64::from(*u) * e).sum();
                assert!((f64::from(dot(u, &g)) - slope).abs() < 1e-2 * (1.0 + slope.abs()), "step {step}: {slope}");
            }
        }
        assert!(off(&g) < 0.02 && off(&mean) > 0.2, "{} and {}", off(&g), off(&mean));
    }

    #[test]
    fn the_sum_is_n_times_the_mean() {
        let stencil = Stencil { directions: 4, centre: false };
        let mean = estimate(Directions::Gaussian, Combine::Mean, stencil, 5, &[0.2; WIDTH]);
        let sum = estimate(Directions::Gaussian, Combine::Sum, stencil, 5, &[0.2; WIDTH]);
        for (m, s) in mean.iter().zip(&sum) {
            assert!((4.0 * m - s).abs() < 1e-4 * s.abs().max(1.0));
        }
    }
}
