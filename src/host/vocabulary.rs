//! A tokenizer as a model file describes it: pieces, merges, scores, special tokens. Tokenises nothing.

use mobiedit_backends::gguf::{Array, Gguf, Value};

use crate::host::tokenizer::TokenizerError;

/// What a token stands for (`tokenizer.ggml.token_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// A piece of text.
    #[default]
    Normal,
    /// What is not in the vocabulary.
    Unknown,
    /// A mark that is never text, such as the end of it.
    Control,
    /// A piece that is found in a text before anything else.
    UserDefined,
    /// Reserved.
    Unused,
    /// One byte.
    Byte,
}

impl TokenType {
    /// The type with GGUF's number for it; unknown numbers are normal tokens.
    pub fn from_number(number: i32) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// The `tokenizer.ggml.*` metadata of a model file.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// "gpt2" (byte-level BPE) or "llama" (SentencePiece).
    pub model: String,
    /// Name of the pre-tokeniser, for "gpt2".
    pub pre: String,
    /// Text of each token, by id.
    pub tokens: Vec<String>,
    /// Type of each token.
    pub types: Vec<TokenType>,
    /// Pairs that are joined, most important first, for "gpt2".
    pub merges: Vec<(String, String)>,
    /// Score of each token, for "llama".
    pub scores: Vec<f32>,
    /// The token that starts a sequence.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub stop: Vec<u32>,
    /// Whether a sequence starts with `bos`.
    pub add_bos: bool,
    /// Whether a space is put before a text, for "llama".
    pub add_space: bool,
}

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
/// Metadata that names a token which ends a text.
const STOPS: [&str; 3] = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
/// Control tokens that end a text, whatever the metadata says.
const STOP_TEXTS: [&str; 5] = ["<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "</s>"];

impl Vocabulary {
    /// Reads the metadata of a model file. Takes at most 24 bytes of the heap for each byte of the file, whatever counts it claims:
    /// `tests/fuzz` holds it to that.
    ///
    /// # Errors
    /// [`TokenizerError::Metadata`] for what is missing or of the wrong type.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, TokenizerError> {
        let model = gguf.str(MODEL).ok_or(TokenizerError::Metadata(MODEL))?;
        let pre = gguf.str("tokenizer.ggml.pre").unwrap_or("default");
        let tokens = list(gguf, TOKENS, |array| Some(array.strs()?.map(str::to_owned).collect::<Vec<_>>()))?;
        let tokens = tokens.ok_or(TokenizerError::Metadata(TOKENS))?;
        let types = list(gguf, TYPES, types)?.unwrap_or_else(|| vec![TokenType::Normal; tokens.len()]);
        if types.len() != tokens.len() {
            return Err(TokenizerError::Metadata(TYPES));
        }
        let merges = list(gguf, MERGES, |array| array.strs()?.map(merge).collect::<Option<Vec<_>>>())?;
        let scores = list(gguf, SCORES, |array| Some(array.f32s()?.collect::<Vec<_>>()))?;

        let mut stop: Vec<u32> = STOPS.iter().filter_map(|key| gguf.u32(key)).collect();
        let ends = |text: &String, kind: &TokenType| *kind == TokenType::Control && STOP_TEXTS.contains(&text.as_str());
        stop.extend((0..).zip(tokens.iter().zip(&types)).filter(|(_, (t, k))| ends(t, k)).map(|(id, _)| id));
        let sentencepiece = model == "llama";
        let starts_by_itself = sentencepiece || matches!(pre, "llama-bpe" | "llama3" | "llama-v3");
        Ok(Self {
            model: model.to_owned(),
            pre: pre.to_owned(),
            tokens,
            types,
            merges: merges.unwrap_or_default(),
            scores: scores.unwrap_or_default(),
            bos: gguf.u32("tokenizer.ggml.bos_token_id").or(sentencepiece.then_some(1)),
            stop,
            add_bos: gguf.bool("tokenizer.ggml.add_bos_token").unwrap_or(starts_by_itself),
            add_space: gguf.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true),
        })
    }
}

/// What `read` makes of the array with this key, if there is one.
fn list<'a, T>(
    gguf: &Gguf<'a>,
    key: &'static str,
    read: impl FnOnce(Array<'a>) -> Option<T>,
) -> Result<Option<T>, TokenizerError> {
    let read = |value: Value<'a>| value.as_array().and_then(read).ok_or(TokenizerError::Metadata(key));
    gguf.get(key).map(read).transpose()
}

/// Types, written by some programs as i32 and by some as u32.
fn types(array: Array<'_>) -> Option<Vec<TokenType>> {
    match array.i32s() {
        Some(numbers) => Some(numbers.map(TokenType::from_number).collect()),
        None => Some(array.u32s()?.map(|n| TokenType::from_number(n.try_into().unwrap_or(0))).collect()),
    }
}

fn merge(pair: &str) -> Option<(String, String)> {
    let (left, right) = pair.split_once(' ')?;
    Some((left.to_owned(), right.to_owned()))
}
