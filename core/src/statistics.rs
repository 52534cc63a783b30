//! What calibration knows about a model's edit layer. Collects nothing itself.

use half::f16;

use crate::backend::ModelSpec;

/// Samples from the edit layer, lent for the time of an edit. Each may be empty: then the edit does without.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics<'a> {
    /// Keys of ordinary text, `(n, d_ff)`: what C is made of.
    pub samples: &'a [f16],
    /// Values of other subjects' last tokens, `(n, d_model)`: where the search may start.
    pub bank: &'a [f16],
    /// What the layers above the edit layer read, `(n, d_model)`: rows whose Gram matrix stands for that of those layers'
    /// key and value projections. A change of one token's value reaches later tokens through these projections alone.
    pub readers: &'a [f16],
}

/// Why statistics cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StatisticsError {
    /// `samples` is not made of whole keys.
    SamplesLength,
    /// `bank` is not made of whole values.
    BankLength,
    /// `readers` is not made of whole rows.
    ReadersLength,
    /// There is a NaN or an infinity among them.
    NotFinite,
}

impl core::fmt::Display for StatisticsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::SamplesLength => "the sample keys' number is no multiple of the model's d_ff",
            Self::BankLength => "the bank's number is no multiple of the model's d_model",
            Self::ReadersLength => "the readers' number is no multiple of the model's d_model",
            Self::NotFinite => "the statistics hold a NaN or an infinity",
        })
    }
}

impl core::error::Error for StatisticsError {}

impl Statistics<'_> {
    pub(crate) fn check(&self, spec: &ModelSpec) -> Result<(), StatisticsError> {
        if self.samples.len().checked_rem(spec.d_ff) != Some(0) {
            return Err(StatisticsError::SamplesLength);
        }
        if self.bank.len().checked_rem(spec.d_model) != Some(0) {
            return Err(StatisticsError::BankLength);
        }
        if self.readers.len().checked_rem(spec.d_model) != Some(0) {
            return Err(StatisticsError::ReadersLength);
        }
        let finite = self.samples.iter().chain(self.bank).chain(self.readers).all(|x| x.is_finite());
        if finite { Ok(()) } else { Err(StatisticsError::NotFinite) }
    }
}
