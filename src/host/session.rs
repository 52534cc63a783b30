//! Where model, tokenizer, device and patches come together: every command, bench and test works on a [`Session`].
//!
//! Lends the memory that the crates below do not allocate. Searches nothing.

use std::path::PathBuf;

use mobiedit_backends::generate::Sequence;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::model::Model;
use mobiedit_backends::patches::{MAX_PATCHES, Patches};
use mobiedit_backends::transformer::{ForwardError, Precision, Transformer};
use mobiedit_core::ForwardBackend;
use mobiedit_core::problem::{MAX_PROMPTS, Role};
use mobiedit_hal_cpu::{CpuError, FastCpu};

use crate::host::edits::Edit;
use crate::host::identity::identity;
use crate::host::model_file::{ModelFile, ModelFileError};
use crate::host::prompts::{PromptError, tokenise};
use crate::host::statistics::{Statement, Statistics, statements};
use crate::host::tokenizer::{Tokenizer, TokenizerError};

/// Rows of a forward pass where no memory limit says otherwise.
const ROWS: usize = 1024;
/// Values that a search may start from.
const BANK: usize = 64;
/// Most sample keys of C: more cost time in every edit and changed no score on the shipped model.
const SAMPLES: usize = 1024;

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
    /// Activations in f32 instead of int16: the comparison.
    pub float: bool,
    /// Threads; one per core without a number. Changes no result.
    pub threads: Option<usize>,
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
    /// A forward pass.
    #[error(transparent)]
    Forward(#[from] ForwardError<CpuError>),
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
    pub transformer: Transformer<'m, FastCpu>,
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
    let row = Transformer::<FastCpu>::work_len(config, 1);
    let longest = MAX_PROMPTS.saturating_mul(config.spec.max_tokens);
    let without_a_limit = ROWS.max(options.rows.min(longest));
    let rows = options.memory_limit.map_or(without_a_limit, |bytes| bytes / size_of::<f32>() / row.max(1)).max(1);
    let mut work_memory = zeros(Transformer::<FastCpu>::work_len(config, rows))?;
    let mut patches = vec![0.0; MAX_PATCHES * Patches::len_of_one(config.spec.d_ff, config.spec.d_model)];
    let precision = if options.float { Precision::Float } else { Precision::W8A16 };
    let transformer = Transformer::new(*model, FastCpu::detect(), precision, &mut work_memory, &mut patches);
    work(&mut Session { tokenizer, model: *model, transformer, rows })
}

/// Memory that the system only provides where it is used; an error where even the addresses for it are missing.
pub(crate) fn zeros(len: usize) -> Result<Vec<f32>, SessionError> {
    let tried = Vec::<f32>::new().try_reserve_exact(len);
    tried.map_err(|_| SessionError::Memory { mib: mib(len) })?;
    Ok(vec![0.0; len])
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
        let need = mib(Transformer::<FastCpu>::work_len(&self.model.config, rows));
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

    /// What calibration knows about `layer`: keys and values at the built-in statements. `seen` is told how many of how
    /// many statements are done.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn statistics(&mut self, layer: usize, mut seen: impl FnMut(usize, usize)) -> Result<Statistics, SessionError> {
        let mut all = Vec::new();
        for (before, subject, after) in statements() {
            let prompt = tokenise(&self.tokenizer, before, subject, after, Role::Essence)?;
            all.push(Statement { tokens: prompt.tokens, subject_last: prompt.subject_last });
        }
        self.check_rows(all.iter().map(|statement| statement.tokens.len()).max().unwrap_or(0))?;
        Ok(Statistics::collect(&mut self.transformer, layer, &all, BANK, SAMPLES, |done| seen(done, all.len()))?)
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
