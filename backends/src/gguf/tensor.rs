//! Tensors of a file: name, shape, type, bytes. Converts nothing; `dequant` does.

use core::ops::Range;

use super::error::TensorFlaw;
use crate::cursor::Cursor;
use crate::weights::{Format, Matrix};

/// Most dimensions of a tensor.
const MAX_RANK: usize = 4;
/// GGML's tensors have names of fewer bytes.
const NAME_END: usize = 64;

/// What a file says about a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description<'a> {
    pub(super) name: &'a str,
    /// 1 from `rank` on.
    dims: [usize; MAX_RANK],
    rank: usize,
    pub(super) type_id: u32,
    /// From the start of the data.
    pub(super) offset: u64,
}

impl<'a> Description<'a> {
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, TensorFlaw> {
        let name = cursor.text().ok_or(TensorFlaw::Truncated)?;
        let name = core::str::from_utf8(name).map_err(|_| TensorFlaw::Name)?;
        if name.len() >= NAME_END {
            return Err(TensorFlaw::Name);
        }
        let rank = cursor.u32().ok_or(TensorFlaw::Truncated)? as usize;
        let mut dims = [1; MAX_RANK];
        for dim in dims.get_mut(..rank).filter(|dims| !dims.is_empty()).ok_or(TensorFlaw::Shape)? {
            let read = cursor.u64().ok_or(TensorFlaw::Truncated)?;
            *dim = usize::try_from(read).ok().filter(|dim| *dim > 0).ok_or(TensorFlaw::Shape)?;
        }
        let type_id = cursor.u32().ok_or(TensorFlaw::Truncated)?;
        let offset = cursor.u64().ok_or(TensorFlaw::Truncated)?;
        Ok(Self { name, dims, rank, type_id, offset })
    }

    pub(super) fn cols(&self) -> usize {
        let [cols, ..] = self.dims;
        cols
    }

    /// Product of all dimensions but the innermost.
    pub(super) fn rows(&self) -> Option<usize> {
        let [_, rest @ ..] = self.dims;
        rest.into_iter().try_fold(1, usize::checked_mul)
    }
}

/// A tensor of a file.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    description: Description<'a>,
    start: usize,
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    pub(super) fn new(description: Description<'a>, start: usize, bytes: &'a [u8]) -> Self {
        Self { description, start, bytes }
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.description.name
    }

    /// Its 1 to 4 sizes in GGUF's order: the length of a row first.
    pub fn dims(&self) -> &[usize] {
        self.description.dims.get(..self.description.rank).unwrap_or(&self.description.dims)
    }

    /// GGML's number of its type.
    pub fn type_id(&self) -> u32 {
        self.description.type_id
    }

    /// GGML's name of its type; `None` for one that is not known here.
    pub fn type_name(&self) -> Option<&'static str> {
        type_name(self.type_id())
    }

    /// How its numbers are stored; `None` where they cannot be used.
    pub fn format(&self) -> Option<Format> {
        format_of(self.type_id())
    }

    /// Its bytes; empty where the format is `None`, because their number is not known.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where [`Self::bytes`] lie in the file.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes.len()
    }

    /// It as a matrix of `dims[0]` columns and all other dimensions' product of rows; `None` where the format is.
    pub fn matrix(&self) -> Option<Matrix<'a>> {
        Matrix::new(self.format()?, self.description.rows()?, self.description.cols(), self.bytes)
    }
}

/// The format with GGML's number `type_id`; `None` for those that are not supported.
pub const fn format_of(type_id: u32) -> Option<Format> {
    Some(match type_id {
        0 => Format::F32,
        1 => Format::F16,
        2 => Format::Q4_0,
        8 => Format::Q8_0,
        12 => Format::Q4K,
        13 => Format::Q5K,
        14 => Format::Q6K,
        30 => Format::Bf16,
        _ => return None,
    })
}

/// GGML's name of a type, supported or not; `None` for numbers without a type.
pub const fn type_name(type_id: u32) -> Option<&'static str> {
    Some(match type_id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        30 => "BF16",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => return None,
    })
}
