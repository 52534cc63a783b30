//! Where model, tokenizer, device and patches come together: every command, bench and test works on a [`Session`].
//!
//! Lends the memory that the crates below do not allocate. Searches nothing.

use std::path::{Path, PathBuf};

use half::f16;
use mobiedit_backends::device::Device;
use mobiedit_backends::generate::Sequence;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::identity::identity;
use mobiedit_backends::model::{Model, ModelConfig};
use mobiedit_backends::patches::{MAX_PATCHES, Patches};
use mobiedit_backends::readers::MOST_READERS;
use mobiedit_backends::scales::{ScalesError, StaticScales};
use mobiedit_backends::transformer::{ForwardError, Precision, Transformer};
use mobiedit_core::ForwardBackend;
use mobiedit_core::problem::MAX_PROMPTS;
use mobiedit_hal_cpu::FastCpu;
use mobiedit_hal_qnn::QnnError;

use crate::host::calibration::{Calibration, CalibrationError, FEWEST_TOKENS, beside};
use crate::host::device::{Backend, HostDevice, HostDeviceError};
use crate::host::edits::Edit;
use crate::host::model_file::{ModelFile, ModelFileError};
use crate::host::prompts::PromptError;
use crate::host::statistics::{Statement, Statistics, built_in_lines};
use crate::host::text::{self, TextError};
use crate::host::tokenizer::{Tokenizer, TokenizerError};

/// Rows of a forward pass where no memory limit says otherwise.
const ROWS: usize = 1024;
/// Most tokens of a text that are calibrated on at once.
const WINDOW: usize = 512;

/// How linear layers treat their activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// int16, a scale per row.
    #[default]
    Dynamic,
    /// int16, the calibration's scales: as on an NPU. They cover all that calibration saw.
    Static,
    /// The same with ranges clipped by the published rule.
    StaticClipped,
    /// f32: slower, the comparison.
    Float,
}

/// Where a session's calibration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CalibrationFrom {
    /// The file beside the model, if there is one; the built-in model has none.
    #[default]
    Beside,
    /// This file.
    File(PathBuf),
    /// None is used.
    Nowhere,
}

/// Which model, on how much.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// The model file; the built-in model without one.
    pub model: Option<PathBuf>,
    /// Bytes of activations; less splits batches and changes no result.
    pub memory_limit: Option<usize>,
    /// Least rows of a forward pass where `memory_limit` says nothing: see [`EditPrompts::rows`]. 1,024 at least.
    ///
    /// [`EditPrompts::rows`]: crate::host::prompts::EditPrompts::rows
    pub rows: usize,
    /// How activations are treated.
    pub activations: Activations,
    /// The calibration to use.
    pub calibration: CalibrationFrom,
    /// Threads; one per core without a number. Changes no result.
    pub threads: Option<usize>,
    /// The device.
    pub backend: Backend,
}

/// Why a session cannot do what is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The model file.
    #[error(transparent)]
    ModelFile(#[from] ModelFileError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A prompt.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The calibration.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// Static scales without a calibration.
    #[error("static activations need a calibration: make one with `mobiedit calibrate`, name it with --calibration")]
    NoCalibration,
    /// A text to calibrate on.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A text that is too short to calibrate on.
    #[error("the text has {0} tokens: at least {FEWEST_TOKENS} are needed")]
    TooShort(usize),
    /// A text that no token comes from.
    #[error("the text to continue is empty")]
    Empty,
    /// A text that is too long for the model.
    #[error("the text has {tokens} tokens, this model's context has room for {context}")]
    TooLong {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// The memory for activations, or for the keys and values of a text, cannot be had.
    #[error("{mib} MiB of memory cannot be had: ask for less with --memory-limit, --max-new-tokens or --samples")]
    Memory {
        /// Asked for.
        mib: usize,
    },
    /// A batch of the device is less than the prompts take at once.
    #[error("these prompts take {need} rows at once, the NPU's graphs have {most}: give --qnn-rows {need}")]
    DeviceRows {
        /// Rows that are enough.
        need: usize,
        /// Rows of the device.
        most: usize,
    },
    /// The memory for activations is less than the prompts take at once.
    #[error("these prompts take {need} MiB for activations at once: give that with --memory-limit {need}")]
    Rows {
        /// MiB that are enough.
        need: usize,
    },
    /// All places for edits are taken.
    #[error(
        "more edits are active than the {MAX_PATCHES} that fit: undo some, or export a merged model and go on from that"
    )]
    Full,
    /// The threads cannot be started.
    #[error("the threads cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// Scales that are none.
    #[error(transparent)]
    Scales(#[from] ScalesError),
    /// No device.
    #[error(transparent)]
    Device(#[from] QnnError),
    /// A forward pass.
    #[error(transparent)]
    Forward(#[from] ForwardError<HostDeviceError>),
}

/// The edit layer where none is asked for: a seventh of the way up. That is layer 5 of Qwen2.5-3B's 36, the paper's, and
/// layer 1 of the shipped model's 8. Causal tracing ([`trace`](crate::host::trace)) has its peak there one layer lower, and
/// edits of either layer score the same; above layer 1 both get worse: the table is in `core/DESIGN.md`, "Which layer".
pub fn auto_layer(layers: usize) -> usize {
    layers / 7
}

/// A model ready to run.
#[derive(Debug)]
pub struct Session<'m> {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// The weights.
    pub model: Model<'m>,
    /// The model on its device, with its patches.
    pub transformer: Transformer<'m, HostDevice>,
    /// What was measured about the model beforehand.
    pub calibration: Option<Calibration>,
    /// Rows that a forward pass can take at once.
    rows: usize,
}

/// Opens the model and lends a session on it to `work`, which runs on the session's threads.
///
/// # Errors
/// A model that cannot be used, and those of `work`.
pub fn with_session<T: Send, E: From<SessionError> + Send>(
    options: &SessionOptions,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, E> + Send,
) -> Result<T, E> {
    let file = ModelFile::open(options.model.as_deref()).map_err(SessionError::from)?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(options.threads.unwrap_or(0));
    let threads = threads.build().map_err(SessionError::from)?;
    let on_the_threads = || file.with_model(|gguf, model| lend(options, gguf, model, work));
    threads.install(on_the_threads).map_err(SessionError::from)?
}

fn lend<T, E: From<SessionError>>(
    options: &SessionOptions,
    gguf: &Gguf<'_>,
    model: &Model<'_>,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let tokenizer = Tokenizer::from_gguf(gguf).map_err(SessionError::from)?;
    let config = &model.config;
    let mut device = HostDevice::open(&options.backend).map_err(SessionError::from)?;
    let longest = MAX_PROMPTS.saturating_mul(config.spec.max_tokens);
    let without_a_limit = ROWS.max(options.rows.min(longest));
    let rows = options.memory_limit.map_or(without_a_limit, |bytes| bytes / bytes_of_rows(&device, config, 1)).max(1);
    let mut work_memory = zeros(Transformer::<HostDevice>::work_len(config, rows))?;
    let mut patches = vec![0.0; MAX_PATCHES * Patches::len_of_one(config.spec.d_ff, config.spec.d_model)];
    let calibration = calibration_of(options, model).map_err(SessionError::from)?;
    let clip = options.activations == Activations::StaticClipped;
    let scales = calibration.as_ref().map(|calibration| calibration.scales(clip));
    let precision = match options.activations {
        Activations::Dynamic => Precision::W8A16,
        Activations::Float => Precision::Float,
        Activations::Static | Activations::StaticClipped => {
            let scales = scales.as_deref().ok_or(SessionError::NoCalibration)?;
            Precision::Static(StaticScales::new(config.spec.layers, scales).map_err(SessionError::from)?)
        }
    };
    if let HostDevice::Cpu(cpu) = &mut device {
        let memory = |_| {
            let bytes = FastCpu::bytes(config, rows, rayon::current_num_threads());
            SessionError::Memory { mib: bytes.div_ceil(1 << 20) }
        };
        cpu.reserve(config, rows).map_err(memory)?;
    }
    let rows = device.capabilities().max_rows.map_or(rows, |most| most.min(rows));
    let transformer = Transformer::new(*model, device, precision, &mut work_memory, &mut patches);
    work(&mut Session { tokenizer, model: *model, transformer, calibration, rows })
}

fn calibration_of(options: &SessionOptions, model: &Model<'_>) -> Result<Option<Calibration>, CalibrationError> {
    let path = match &options.calibration {
        CalibrationFrom::File(path) => Some(path.clone()),
        CalibrationFrom::Beside => options.model.as_deref().map(beside).filter(|path| path.exists()),
        CalibrationFrom::Nowhere => None,
    };
    path.map(|path| Calibration::read(&path, model)).transpose()
}

/// Memory that the system only provides where it is used; an error where even the addresses for it are missing.
pub(crate) fn zeros(len: usize) -> Result<Vec<f32>, SessionError> {
    let tried = Vec::<f32>::new().try_reserve_exact(len);
    tried.map_err(|_| SessionError::Memory { mib: mib(len) })?;
    Ok(vec![0.0; len])
}

/// Bytes of the activations of so many rows, and of what a CPU makes of them.
fn bytes_of_rows(device: &HostDevice, config: &ModelConfig, rows: usize) -> usize {
    let floats = Transformer::<HostDevice>::work_len(config, rows);
    let of_device = match device {
        HostDevice::Cpu(_) => FastCpu::bytes_of_a_row(config).saturating_mul(rows),
        HostDevice::Qnn(_) => 0,
    };
    floats.saturating_mul(size_of::<f32>()).saturating_add(of_device).max(1)
}

/// MiB of so many f32, rounded up.
fn mib(len: usize) -> usize {
    len.saturating_mul(size_of::<f32>()).div_ceil(1 << 20)
}

impl Session<'_> {
    /// Whether forward passes may take `rows` rows at once.
    ///
    /// # Errors
    /// [`SessionError::Rows`].
    pub fn check_rows(&self, rows: usize) -> Result<(), SessionError> {
        if let Some(most) = self.transformer.device().capabilities().max_rows.filter(|most| rows > *most) {
            return Err(SessionError::DeviceRows { need: rows, most });
        }
        let need = bytes_of_rows(self.transformer.device(), &self.model.config, rows).div_ceil(1 << 20);
        if rows > self.rows { Err(SessionError::Rows { need }) } else { Ok(()) }
    }

    /// Whether another edit can be applied.
    ///
    /// # Errors
    /// [`SessionError::Full`].
    pub fn check_room(&self) -> Result<(), SessionError> {
        if self.transformer.patches().count() < MAX_PATCHES { Ok(()) } else { Err(SessionError::Full) }
    }

    /// What greedy decoding adds to `text`: at most `most` tokens, up to the first that ends a text.
    ///
    /// # Errors
    /// An empty text, one that leaves no room in the context, and failures of the device.
    pub fn complete(&mut self, text: &str, most: usize) -> Result<String, SessionError> {
        let tokens = self.continuation(text, most)?;
        Ok(self.tokenizer.decode(&tokens))
    }

    /// The same in tokens.
    ///
    /// # Errors
    /// Those of [`complete`](Self::complete).
    pub fn continuation(&mut self, text: &str, most: usize) -> Result<Vec<u32>, SessionError> {
        let prompt = self.prompt(text)?;
        let spec = self.transformer.spec();
        let most = most.min(spec.max_tokens);
        let capacity = spec.max_tokens.min(prompt.len() + most);
        let mut memory = self.sequence_memory(capacity)?;
        let mut sequence = Sequence::new(capacity, &mut memory);
        let mut out = vec![0; most];
        let written = self.transformer.generate(&mut sequence, &prompt, self.tokenizer.stop_tokens(), &mut out)?;
        out.truncate(written);
        Ok(out)
    }

    /// Tokens of a text that something can be said to.
    ///
    /// # Errors
    /// An empty text, one that leaves no room in the context.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>, SessionError> {
        let prompt = self.tokenizer.encode(text)?.ids;
        let context = self.transformer.spec().max_tokens;
        match prompt.len() {
            0 => Err(SessionError::Empty),
            tokens if tokens >= context => Err(SessionError::TooLong { tokens, context }),
            _ => Ok(prompt),
        }
    }

    /// Memory for a [`Sequence`] of up to `capacity` tokens.
    ///
    /// # Errors
    /// Memory that cannot be had.
    pub fn sequence_memory(&self, capacity: usize) -> Result<Vec<f32>, SessionError> {
        zeros(Sequence::memory_len(&self.transformer.spec(), capacity))
    }

    /// Keys and values of `layer`: those of the session's calibration if it is of that layer, else at the built-in
    /// statements. `seen` is told how many of how many statements are done.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn statistics(&mut self, layer: usize, mut seen: impl FnMut(usize, usize)) -> Result<Statistics, SessionError> {
        let kept = self.calibration.as_ref().filter(|calibration| calibration.layer == layer);
        let mut statistics = match kept {
            Some(calibration) => calibration.statistics.clone(),
            None => {
                let all = self.statements(None, usize::MAX)?;
                let spec = self.transformer.spec();
                let run = |tokens: &[u32], keys: &mut [f32], values: &mut [f32]| {
                    self.transformer.capture(tokens, layer, keys, values)
                };
                Statistics::collect(&spec, &all, run, |done| seen(done, all.len()))?
            }
        };
        let width = self.transformer.spec().d_model;
        statistics.readers = vec![f16::ZERO; width.min(MOST_READERS) * width];
        self.transformer.readers(layer, &mut statistics.readers)?;
        Ok(statistics)
    }

    /// A text in pieces that can be run, or the built-in statements: `most` tokens at most.
    ///
    /// # Errors
    /// A file that is no text, statements that do not fit the memory.
    pub fn statements(&self, path: Option<&Path>, most: usize) -> Result<Vec<Statement>, SessionError> {
        let text = path.map(text::read).transpose()?;
        // The built-in statements are run whole, on any memory that has room for them.
        let window =
            if path.is_some() { WINDOW.min(self.rows) } else { usize::MAX }.min(self.transformer.spec().max_tokens);
        let all = match &text {
            Some(text) => text::statements(&self.tokenizer, text.lines(), window, most)?,
            None => text::statements(&self.tokenizer, built_in_lines(), window, most)?,
        };
        self.check_rows(all.iter().map(|statement| statement.tokens.len()).max().unwrap_or(0))?;
        Ok(all)
    }

    /// Measures the clean model on `statements`, and keys and values of `layer`. `seen` is told how many are done.
    ///
    /// # Errors
    /// Too few tokens, and failures of the device.
    pub fn calibrate(
        &mut self,
        layer: usize,
        statements: &[Statement],
        seen: impl FnMut(usize),
    ) -> Result<Calibration, SessionError> {
        let tokens = statements.iter().map(|statement| statement.tokens.len()).sum();
        if tokens < FEWEST_TOKENS {
            return Err(SessionError::TooShort(tokens));
        }
        Ok(Calibration::measure(&mut self.transformer, &self.model, layer, statements, seen)?)
    }

    /// Identity of the model as far as edits of `layer` are concerned.
    pub fn identity(&self, layer: usize) -> u64 {
        identity(&self.model, layer)
    }

    /// Applies those of `edits` that were made for this model; returns the ids of the others.
    ///
    /// # Errors
    /// More edits than a session holds.
    pub fn apply_edits<'e>(&mut self, edits: impl Iterator<Item = &'e Edit>) -> Result<Vec<String>, SessionError> {
        let mut foreign = Vec::new();
        for edit in edits {
            if edit.info.model == self.identity(edit.info.layer) {
                self.check_room()?;
                self.transformer.apply(edit.patch())?;
            } else {
                foreign.push(edit.info.edit_id.clone());
            }
        }
        Ok(foreign)
    }
}
