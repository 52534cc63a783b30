//! What is measured once about a model and kept beside it: ranges of its activations for static scales, and the statistics
//! of one layer for its edits. Forward passes only, in bounded memory. Chooses neither text nor layer.
//!
//! ```text
//! file := "MOBICALI" version:u32 layers:u32 d_model:u32 d_ff:u32 layer:u32 samples:u32 bank:u32 tokens:u64 model:u64
//!         (most:f32 percentile:f32)[4 · layers + 1] sample:f16[samples · d_ff] value:f16[bank · d_model] crc32:u32
//! ```
//! All numbers are little-endian; the checksum is of all before it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::f16;
use mobiedit_backends::device::Device;
use mobiedit_backends::model::{Model, ModelConfig};
use mobiedit_backends::observer::{BINS, Magnitudes, Range};
use mobiedit_backends::quant::{MOST_I16, clipped_range};
use mobiedit_backends::scales::scale_count;
use mobiedit_backends::transformer::{ForwardError, Transformer};

use crate::host::atomic_file;
use crate::host::identity::whole_identity;
use crate::host::statistics::{Statement, Statistics};

const MAGIC: &[u8; 8] = b"MOBICALI";
/// The version that this program reads and writes.
pub const VERSION: u32 = 1;
/// Magic, seven u32, two u64.
const HEADER_LEN: usize = 8 + 7 * 4 + 2 * 8;
/// Fewest tokens whose percentiles and keys say anything.
pub const FEWEST_TOKENS: usize = 100;

/// A model's calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The model, by [`whole_identity`].
    pub model: u64,
    /// The layer of the statistics.
    pub layer: usize,
    /// What was seen of each input that has a static scale, in the order of
    /// [`StaticScales`](mobiedit_backends::scales::StaticScales).
    pub ranges: Vec<Range>,
    /// Keys and values of `layer`.
    pub statistics: Statistics,
}

/// Why a file cannot be used as calibration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The file cannot be read.
    #[error("the calibration {path} cannot be read: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error("the calibration {path} cannot be written: {error}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file cannot be used.
    #[error("the calibration {path} cannot be used: {why}; make a new one with `mobiedit calibrate`", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Unusable,
    },
}

/// What is wrong with a calibration's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// They start with something else.
    #[error("it is no calibration file")]
    NotACalibration,
    /// They have changed since they were written, or the end is missing.
    #[error("it is damaged")]
    Damaged,
    /// Another version of the program wrote them.
    #[error("it has format {0}, this program reads format {VERSION}")]
    Version(u32),
    /// They were measured on another model.
    #[error("it was made for another model")]
    OtherModel,
}

/// Where the calibration of the model file at `model` is, if there is one: MODEL.gguf has MODEL.calibration.
pub fn beside(model: &Path) -> PathBuf {
    model.with_extension("calibration")
}

impl Calibration {
    /// Runs `statements` through the whole model. `seen` is told how many are done.
    ///
    /// # Errors
    /// Failures of the device, activations that are not finite.
    pub fn measure<D: Device>(
        transformer: &mut Transformer<'_, D>,
        model: &Model<'_>,
        layer: usize,
        statements: &[Statement],
        seen: impl FnMut(usize),
    ) -> Result<Self, ForwardError<D::Error>> {
        let sites = scale_count(model.layers.len());
        let (mut counts, mut most) = (vec![[0; BINS]; sites], vec![0.0; sites]);
        let magnitudes = Magnitudes::new(model.layers.len(), &mut counts, &mut most).ok_or(ForwardError::Model)?;
        let mut observed = transformer.observed(magnitudes);
        let run = |tokens: &[u32], keys: &mut [f32], values: &mut [f32]| observed.observe(tokens, layer, keys, values);
        let statistics = Statistics::collect(&model.config.spec, statements, run, seen)?;
        let ranges = (0..sites).map(|site| observed.magnitudes().range(site)).collect::<Option<_>>();
        let ranges = ranges.ok_or(ForwardError::NotFinite)?;
        Ok(Self { model: whole_identity(model), layer, ranges, statistics })
    }

    /// Bytes of the buffers that [`measure`](Self::measure) and the forward passes fill for statements of up to `tokens`
    /// tokens, besides what is kept.
    pub fn buffer_bytes(config: &ModelConfig, tokens: usize) -> usize {
        let spec = config.spec;
        let histograms = scale_count(spec.layers) * (BINS * size_of::<u64>() + size_of::<f32>());
        let activations = Transformer::<mobiedit_hal_cpu::FastCpu>::work_len(config, tokens);
        histograms + (activations + tokens * (spec.d_ff + spec.d_model)) * size_of::<f32>()
    }

    /// Static scales: an input's range is the largest magnitude that was seen. With `clip`, the published rule: the 99th
    /// percentile where the maximum is over four times that. An input that was always 0 has the range 1.
    ///
    /// On the shipped model the rule clips the inputs of `down_proj` and nothing else, and that costs accuracy: measured in
    /// `core/DESIGN.md`.
    pub fn scales(&self, clip: bool) -> Vec<f32> {
        let range = |range: &Range| if clip { clipped_range(range.most, range.percentile) } else { range.most };
        self.ranges.iter().map(range).map(scale).collect()
    }

    /// Number of inputs whose range the published rule clips.
    pub fn clipped(&self) -> usize {
        self.ranges.iter().filter(|range| clipped_range(range.most, range.percentile) < range.most).count()
    }

    /// The file's bytes.
    pub fn to_bytes(&self, config: &ModelConfig) -> Vec<u8> {
        let mut bytes = self.content(config);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// The file's checksum: tells calibrations of a model apart.
    pub fn checksum(&self, config: &ModelConfig) -> u32 {
        crc32fast::hash(&self.content(config))
    }

    fn content(&self, config: &ModelConfig) -> Vec<u8> {
        let (spec, statistics) = (config.spec, &self.statistics);
        let samples = statistics.samples.len() / spec.d_ff;
        let bank = statistics.bank.len() / spec.d_model;
        let mut bytes = MAGIC.to_vec();
        for number in [VERSION as usize, spec.layers, spec.d_model, spec.d_ff, self.layer, samples, bank] {
            bytes.extend((number as u32).to_le_bytes());
        }
        bytes.extend((statistics.tokens as u64).to_le_bytes());
        bytes.extend(self.model.to_le_bytes());
        bytes.extend(self.ranges.iter().flat_map(|range| [range.most, range.percentile]).flat_map(f32::to_le_bytes));
        bytes.extend(statistics.samples.iter().chain(&statistics.bank).flat_map(|number| number.to_le_bytes()));
        bytes
    }

    /// The calibration in a file's bytes, if it is this model's.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn from_bytes(bytes: &[u8], model: &Model<'_>) -> Result<Self, Unusable> {
        if !bytes.starts_with(MAGIC) {
            return Err(Unusable::NotACalibration);
        }
        let (content, checksum) = bytes.split_last_chunk().ok_or(Unusable::Damaged)?;
        if content.len() < HEADER_LEN || crc32fast::hash(content).to_le_bytes() != *checksum {
            return Err(Unusable::Damaged);
        }
        let mut rest = Cursor(&content[MAGIC.len()..]);
        let mut header = || rest.u32().map(|number| number as usize);
        let version = header()?;
        if version != VERSION as usize {
            return Err(Unusable::Version(version as u32));
        }
        let (sizes, layer, samples, bank) = ([header()?, header()?, header()?], header()?, header()?, header()?);
        let (tokens, of_model) = (rest.u64()? as usize, rest.u64()?);
        let spec = model.config.spec;
        if of_model != whole_identity(model) || sizes != [spec.layers, spec.d_model, spec.d_ff] {
            return Err(Unusable::OtherModel);
        }
        let range = |bytes: &[u8; 8]| {
            let mut numbers = Cursor(bytes);
            let mut number = || numbers.u32().map(f32::from_bits);
            Ok(Range { most: number()?, percentile: number()? })
        };
        let ranges =
            rest.take(scale_count(spec.layers), 8)?.as_chunks().0.iter().map(range).collect::<Result<_, _>>()?;
        let halves = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|half| f16::from_le_bytes(*half)).collect();
        let samples = halves(rest.take(samples, spec.d_ff * 2)?);
        let bank = halves(rest.take(bank, spec.d_model * 2)?);
        if layer >= spec.layers || !rest.0.is_empty() {
            return Err(Unusable::Damaged);
        }
        Ok(Self {
            model: of_model,
            layer,
            ranges,
            statistics: Statistics { samples, bank, tokens, ..Statistics::default() },
        })
    }

    /// Writes the file; returns its length.
    ///
    /// # Errors
    /// [`CalibrationError::Write`]; a file that was there is then as it was.
    pub fn write(&self, path: &Path, config: &ModelConfig) -> Result<usize, CalibrationError> {
        let bytes = self.to_bytes(config);
        let written = atomic_file::write(path, |file| file.write_all(&bytes));
        written.map_err(|error| CalibrationError::Write { path: path.to_owned(), error })?;
        Ok(bytes.len())
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or was made for another model.
    pub fn read(path: &Path, model: &Model<'_>) -> Result<Self, CalibrationError> {
        let bytes = fs::read(path).map_err(|error| CalibrationError::Read { path: path.to_owned(), error })?;
        Self::from_bytes(&bytes, model).map_err(|why| CalibrationError::Unusable { path: path.to_owned(), why })
    }
}

/// One step of int16 over a range.
fn scale(range: f32) -> f32 {
    let scale = range / MOST_I16;
    if scale.is_normal() { scale } else { 1.0 / MOST_I16 }
}

/// What is left of a file's bytes.
struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Unusable> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Unusable::Damaged)?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn u32(&mut self) -> Result<u32, Unusable> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Unusable> {
        self.chunk().map(u64::from_le_bytes)
    }

    /// The bytes of so many elements of this size.
    fn take(&mut self, count: usize, size: usize) -> Result<&'b [u8], Unusable> {
        let len = count.checked_mul(size).ok_or(Unusable::Damaged)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Unusable::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(all(test, feature = "shipped-model"))]
mod tests {
    use super::*;
    use mobiedit_backends::gguf::Gguf;

    use crate::host::model_file::ModelFile;

    fn with_calibration(check: impl FnOnce(&Model<'_>, Calibration)) {
        let with_model = |_: &Gguf<'_>, model: &Model<'_>| {
            let numbers = |len: usize| (0..len).map(|i| f16::from_f32(i as f32)).collect();
            let ranges = (0..33).map(|i| Range { most: 10.0, percentile: i as f32 * 0.25 }).collect();
            let statistics =
                Statistics { samples: numbers(2 * 768), bank: numbers(3 * 256), tokens: 1234, ..Statistics::default() };
            check(model, Calibration { model: whole_identity(model), layer: 1, ranges, statistics });
        };
        ModelFile::open(None).unwrap().with_model(with_model).unwrap();
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_no_damaged_one_is_read() {
        with_calibration(|model, calibration| {
            let mut bytes = calibration.to_bytes(&model.config);
            assert_eq!(bytes.len(), 52 + 33 * 8 + 2 * (2 * 768 + 3 * 256) + 4);
            assert_eq!(Calibration::from_bytes(&bytes, model).unwrap(), calibration);
            for at in 0..bytes.len() {
                bytes[at] ^= 1 << (at % 8);
                let expected = if at < 8 { Unusable::NotACalibration } else { Unusable::Damaged };
                assert_eq!(Calibration::from_bytes(&bytes, model), Err(expected), "byte {at}");
                bytes[at] ^= 1 << (at % 8);
            }
            for len in 0..bytes.len() {
                assert!(Calibration::from_bytes(&bytes[..len], model).is_err(), "{len} bytes");
            }
        });
    }

    #[test]
    fn another_model_and_another_version_are_told_from_damage() {
        with_calibration(|model, calibration| {
            let other = Calibration { model: calibration.model ^ 1, ..calibration.clone() };
            let read = |calibration: &Calibration, change: fn(&mut Vec<u8>)| {
                let mut bytes = calibration.to_bytes(&model.config);
                bytes.truncate(bytes.len() - 4);
                change(&mut bytes);
                bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
                Calibration::from_bytes(&bytes, model)
            };
            assert_eq!(read(&calibration, |_| ()), Ok(calibration.clone()));
            assert_eq!(read(&other, |_| ()), Err(Unusable::OtherModel));
            assert_eq!(read(&calibration, |bytes| bytes[8] = 2), Err(Unusable::Version(2)));
            // Counts that do not fit the length, with a right checksum.
            assert_eq!(read(&calibration, |bytes| bytes[28] += 1), Err(Unusable::Damaged));
            assert_eq!(read(&calibration, |bytes| bytes[28..36].fill(0xff)), Err(Unusable::Damaged));
            assert_eq!(read(&calibration, |bytes| bytes.push(0)), Err(Unusable::Damaged));
        });
    }

    #[test]
    fn scales_cover_what_was_seen_or_are_clipped_by_the_published_rule() {
        with_calibration(|_, mut calibration| {
            assert_eq!(calibration.scales(false), [10.0 / 32767.0; 33]);
            let scales = calibration.scales(true);
            // The maximum is 10: over 4 · 2.25, not over 4 · 2.5.
            assert_eq!((scales[9], scales[10]), (2.25 / 32767.0, 10.0 / 32767.0));
            assert_eq!(calibration.clipped(), 9);
            calibration.ranges.fill(Range::default());
            assert_eq!(calibration.scales(true), [1.0 / 32767.0; 33]);
        });
    }

    #[test]
    fn a_models_identity_knows_each_of_its_matrices() {
        with_calibration(|model, _| {
            let mut changed: Vec<Model<'_>> = Vec::new();
            let swap = |change: fn(&mut mobiedit_backends::model::Layer<'_>)| {
                let mut layers = model.layers.to_vec();
                change(&mut layers[3]);
                whole_identity(&Model { layers: &layers, ..*model })
            };
            let mut all = vec![whole_identity(model)];
            all.push(swap(|w| std::mem::swap(&mut w.gate, &mut w.up)));
            all.push(swap(|w| std::mem::swap(&mut w.k, &mut w.v)));
            all.push(swap(|w| w.q_bias = None));
            changed.push(Model { head: model.embedding, ..*model });
            changed.push(Model { output_norm: model.layers[0].attn_norm, ..*model });
            all.extend(changed.iter().map(whole_identity));
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 6);
        });
    }
}
