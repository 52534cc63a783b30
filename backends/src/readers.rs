//! What the layers above an edit layer read of its value: a sketch of their key and value projections. Made from the weights
//! alone; runs nothing, and draws no directions.

use half::f16;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::dequant::dequantize_row;
use crate::device::Device;
use crate::model::Model;
use crate::transformer::{ForwardError, Transformer};
use crate::weights::Matrix;

/// Rows that stand for all that is read; d_model of them where that is less.
pub const MOST_READERS: usize = 512;

/// Rows of scratch besides the sums: a norm's weights and a row of a matrix.
const ROWS: usize = 2;

/// One row of a projection, in lent memory, with its norm's weights in its columns.
struct Reading<'s> {
    gains: &'s mut [f32],
    row: &'s mut [f32],
}

impl Reading<'_> {
    fn read(&mut self, matrix: &Matrix<'_>, index: usize) -> &[f32] {
        dequantize_row(matrix.format(), matrix.row(index), self.row);
        self.row.iter_mut().zip(&*self.gains).for_each(|(x, gain)| *x *= gain);
        self.row
    }
}

/// The combinations of one pass over the weights: `sums`, `(n, width)`, are those from `first` on, of `count` in all.
struct Part<'s> {
    first: usize,
    count: usize,
    sums: &'s mut [f32],
}

impl Part<'_> {
    /// Adds or subtracts `row` to each combination. A row has a random bit for each of all of them, so that which ones are made
    /// together changes none.
    fn add(&mut self, signs: &mut Xoshiro256PlusPlus, scale: f32, row: &[f32]) {
        let mut sums = self.sums.chunks_exact_mut(row.len().max(1));
        for index in 0..self.count {
            let sign = if signs.next_u64() & 1 == 0 { scale } else { -scale };
            if index >= self.first
                && let Some(sum) = sums.next()
            {
                sum.iter_mut().zip(row).for_each(|(out, x)| *out += sign * x);
            }
        }
    }

    /// Adds every row that the layers above `layer` read, each matrix scaled to Frobenius norm 1.
    fn add_all(&mut self, model: &Model<'_>, layer: usize, reading: &mut Reading<'_>) {
        let mut signs = Xoshiro256PlusPlus::seed_from_u64(0);
        for block in model.layers.iter().skip(layer.saturating_add(1)) {
            dequantize_row(block.attn_norm.format(), block.attn_norm.row(0), reading.gains);
            for matrix in [&block.k, &block.v] {
                let rows = 0..matrix.rows();
                let square = rows
                    .clone()
                    .fold(0.0, |sum, index| sum + reading.read(matrix, index).iter().map(|x| x * x).sum::<f32>());
                let scale = if square > 0.0 { 1.0 / libm::sqrtf(square) } else { 0.0 };
                rows.for_each(|index| self.add(&mut signs, scale, reading.read(matrix, index)));
            }
        }
    }
}

impl<D: Device> Transformer<'_, D> {
    /// A sketch of what the layers above `layer` read, to `out`, `(n, d_model)`: n random combinations of the rows of their key and
    /// value projections, each matrix with its norm's weights in its columns and scaled to Frobenius norm 1. The combinations'
    /// Gram matrix is that of all rows, in expectation. Needs weights alone; the same bits for the same model and n.
    ///
    /// The sums are made in the work memory, and the weights are read once for as many of them as it holds.
    ///
    /// # Errors
    /// A layer outside the model, an `out` that is no whole rows, work memory of less than three rows of d_model.
    pub fn readers(&mut self, layer: usize, out: &mut [f16]) -> Result<(), ForwardError<D::Error>> {
        self.check_model()?;
        let (width, given) = (self.model.config.spec.d_model.max(1), out.len());
        if layer >= self.model.layers.len() {
            return Err(ForwardError::OutOfRange);
        }
        if !given.is_multiple_of(width) {
            return Err(ForwardError::BufferTooSmall {
                need: (given / width).saturating_add(1).saturating_mul(width),
                given,
            });
        }
        let (need, have) = (width.saturating_mul(ROWS + 1), self.work.len());
        let scratch = self.work.split_at_mut_checked(width.saturating_mul(ROWS)).filter(|_| have >= need);
        let (rows, sums) = scratch.ok_or(ForwardError::BufferTooSmall { need, given: have })?;
        let (gains, row) = rows.split_at_mut_checked(width).unwrap_or_default();
        let mut reading = Reading { gains, row };
        let at_once = sums.len() / width;
        for (index, out) in out.chunks_mut(at_once.saturating_mul(width).max(1)).enumerate() {
            let sums = sums.get_mut(..out.len()).unwrap_or_default();
            sums.fill(0.0);
            let mut part = Part { first: index * at_once, count: given / width, sums };
            part.add_all(&self.model, layer, &mut reading);
            out.iter_mut().zip(&*part.sums).for_each(|(out, sum)| *out = f16::from_f32(*sum));
        }
        Ok(())
    }
}
