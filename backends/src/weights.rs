//! Views of weights as they lie in a model file: format, shape, bytes. Copies nothing and converts nothing by itself.

/// How the numbers of a tensor are stored (names and layouts as in GGML).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Format {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32: one f16 scale, 32 int8.
    Q8_0,
    /// Blocks of 32: one f16 scale, 32 four-bit numbers with offset 8.
    Q4_0,
    /// Blocks of 256: 4-bit numbers in 8 groups with 6-bit scales and minima.
    Q4K,
    /// Blocks of 256: 5-bit numbers in 8 groups with 6-bit scales and minima.
    Q5K,
    /// Blocks of 256: 6-bit numbers in 16 groups with 8-bit scales.
    Q6K,
}

impl Format {
    /// Numbers in one block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row of `cols` numbers; `None` where `cols` is no whole number of blocks.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.block_len()) {
            (cols / self.block_len()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }
}

/// A matrix of weights, row-major: `rows` outputs of `cols` inputs each. A vector has one row.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// No rows, no columns.
    pub const EMPTY: Self = Self { format: Format::F32, rows: 0, cols: 0, bytes: &[] };

    /// A view of `bytes`; `None` where their number is not that of the shape.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        let need = format.row_bytes(cols)?.checked_mul(rows)?;
        (need == bytes.len()).then_some(Self { format, rows, cols, bytes })
    }

    /// How the numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of rows: outputs of a linear layer, tokens of an embedding.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: inputs of a linear layer.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All bytes, row after row.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of one row; empty for a row outside the matrix.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let len = self.format.row_bytes(self.cols).unwrap_or(0);
        let end = |start: usize| start.checked_add(len);
        row.checked_mul(len).and_then(|start| self.bytes.get(start..end(start)?)).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_outside_the_matrix_is_empty() {
        let bytes: [u8; 8] = [1, 0, 2, 0, 3, 0, 4, 0];
        let matrix = Matrix::new(Format::F16, 2, 2, &bytes).unwrap();
        assert_eq!((matrix.row(0), matrix.row(1)), (&bytes[..4], &bytes[4..]));
        for outside in [2, 3, usize::MAX / 4, usize::MAX] {
            assert_eq!(matrix.row(outside), [0; 0], "row {outside}");
        }
    }
}
