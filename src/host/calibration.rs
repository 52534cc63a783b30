//! What is measured once about a model and kept beside it: ranges of its activations for static scales, and the statistics
//! of one layer for its edits. Forward passes only, in bounded memory. Chooses neither text nor layer; the file's format, and
//! how it is read, is [`mobiedit_backends::calibration`]'s.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mobiedit_backends::calibration::{self, MAGIC, Unusable, VERSION, static_scales};
use mobiedit_backends::device::Device;
use mobiedit_backends::identity::whole_identity;
use mobiedit_backends::model::{Model, ModelConfig};
use mobiedit_backends::observer::{BINS, Magnitudes, Range};
use mobiedit_backends::quant::clipped_range;
use mobiedit_backends::scales::{is_product, scale_count};
use mobiedit_backends::transformer::{ForwardError, Transformer};

use crate::host::atomic_file;
use crate::host::device::HostDevice;
use crate::host::statistics::{Statement, Statistics};

/// Fewest tokens whose percentiles and keys say anything.
pub const FEWEST_TOKENS: usize = 100;

/// A model's calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The model, by [`whole_identity`].
    pub model: u64,
    /// The layer of the statistics.
    pub layer: usize,
    /// What was seen of each input and product, in the order of [`StaticScales`](mobiedit_backends::scales::StaticScales).
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
        let mut logits = vec![0.0; model.config.spec.vocab];
        let run = |tokens: &[u32], keys: &mut [f32], values: &mut [f32]| {
            observed.observe(tokens, layer, keys, values, &mut logits)
        };
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
        let activations = Transformer::<HostDevice>::work_len(config, tokens);
        histograms + (activations + tokens * (spec.d_ff + spec.d_model) + spec.vocab) * size_of::<f32>()
    }

    /// Static scales, those of inputs clipped by the published rule or not: see [`static_scales`].
    pub fn scales(&self, clip: bool) -> Vec<f32> {
        static_scales(self.ranges.iter().copied(), clip).collect()
    }

    /// What was seen of each input.
    pub fn inputs(&self) -> impl Iterator<Item = &Range> {
        let count = self.ranges.len();
        self.ranges.iter().enumerate().filter(move |(index, _)| !is_product(*index, count)).map(|(_, range)| range)
    }

    /// Number of inputs whose range the published rule clips.
    pub fn clipped(&self) -> usize {
        self.inputs().filter(|range| clipped_range(range.most, range.percentile) < range.most).count()
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
        let read = calibration::Calibration::parse(bytes)?.of_model(model)?;
        let (samples, bank) = (read.samples().iter().collect(), read.bank().iter().collect());
        let statistics = Statistics { samples, bank, tokens: read.tokens() as usize, ..Statistics::default() };
        Ok(Self { model: read.model(), layer: read.layer(), ranges: read.ranges().collect(), statistics })
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

#[cfg(all(test, feature = "shipped-model"))]
mod tests {
    use super::*;
    use half::f16;
    use mobiedit_backends::gguf::Gguf;

    use crate::host::model_file::ModelFile;

    fn with_calibration(check: impl FnOnce(&Model<'_>, Calibration)) {
        let with_model = |_: &Gguf<'_>, model: &Model<'_>| {
            let numbers = |len: usize| (0..len).map(|i| f16::from_f32(i as f32)).collect();
            let ranges = (0..90).map(|i| Range { most: 10.0, percentile: i as f32 * 0.25 }).collect();
            let statistics =
                Statistics { samples: numbers(2 * 768), bank: numbers(3 * 256), tokens: 1234, ..Statistics::default() };
            check(model, Calibration { model: whole_identity(model), layer: 1, ranges, statistics });
        };
        ModelFile::open(None).unwrap().with_model(with_model).unwrap();
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        with_calibration(|model, calibration| {
            let mut bytes = calibration.to_bytes(&model.config);
            assert_eq!(bytes.len(), 52 + 90 * 8 + 2 * (2 * 768 + 3 * 256) + 4);
            assert_eq!(Calibration::from_bytes(&bytes, model).unwrap(), calibration);
            bytes[99] ^= 1;
            assert_eq!(Calibration::from_bytes(&bytes, model), Err(Unusable::Damaged));
            let other = Calibration { model: calibration.model ^ 1, ..calibration };
            let bytes = other.to_bytes(&model.config);
            assert_eq!(Calibration::from_bytes(&bytes, model), Err(Unusable::OtherModel));
        });
    }

    #[test]
    fn what_the_published_rule_clips_is_counted() {
        with_calibration(|_, calibration| {
            // The maximum is 10, over four times the percentile at 1 to 9: three inputs, then products, which have twice the room.
            let [whole, clipped] = [false, true].map(|clip| calibration.scales(clip).into_iter().map(|s| s * 32767.0));
            let (whole, clipped): (Vec<_>, Vec<_>) = (whole.collect(), clipped.collect());
            assert_eq!(whole[..12], [[10.0; 4], [20.0; 4], [20.0, 20.0, 20.0, 10.0]].concat());
            assert_eq!(clipped[..5], [10.0, 0.25, 0.5, 0.75, 20.0]);
            assert_eq!(clipped[5..], whole[5..]);
            assert_eq!((calibration.clipped(), calibration.inputs().count()), (3, 33));
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
