//! Text to token ids and back, as the model file's own metadata says.
//!
//! Byte-level BPE is the `tokenizers` crate's work, SentencePiece's scored BPE is `scored_bpe`'s. Knows no prompts.

use mobiedit_backends::gguf::Gguf;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizedString, Normalizer, SplitDelimiterBehavior};

use crate::host::scored_bpe::ScoredBpe;
use crate::host::vocabulary::{TokenType, Vocabulary};

/// Pre-tokeniser of Qwen2: `tokenizer.ggml.pre = "qwen2"`.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Pre-tokeniser of Llama 3: `tokenizer.ggml.pre = "llama-bpe"`.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Why text cannot be turned into tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The model file has no vocabulary, or a part of it is missing or of the wrong type.
    #[error("the model file has no usable tokenizer: {0} is missing or malformed")]
    Metadata(&'static str),
    /// `tokenizer.ggml.model` is none of ours.
    #[error("the tokenizer model {0:?} is not supported (gpt2 and llama are)")]
    Model(String),
    /// `tokenizer.ggml.pre` is none of ours.
    #[error("the pre-tokenizer {0:?} is not supported (qwen2, llama-bpe, gpt-2 and default are)")]
    PreTokenizer(String),
    /// The parts do not fit together.
    #[error("the tokenizer of the model file is inconsistent: {0}")]
    Inconsistent(String),
    /// The text could not be encoded.
    #[error("the text could not be tokenised: {0}")]
    Encode(String),
}

/// Tokens of a text, and where each ends in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Per token, its bytes in the text: first and one past the last. Empty for tokens that stand for no text.
    pub spans: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Kind {
    ByteLevel(Box<tokenizers::Tokenizer>),
    Scored(ScoredBpe),
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    first: Option<u32>,
    stop: Vec<u32>,
}

impl Tokenizer {
    /// The tokenizer that a vocabulary describes.
    ///
    /// # Errors
    /// Kinds of tokenizers that are not supported, and vocabularies that contradict themselves.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        let first = vocabulary.add_bos.then_some(vocabulary.bos).flatten();
        let stop = vocabulary.stop.clone();
        let kind = match vocabulary.model.as_str() {
            "gpt2" => Kind::ByteLevel(Box::new(byte_level(vocabulary)?)),
            "llama" => Kind::Scored(ScoredBpe::new(vocabulary)?),
            other => return Err(TokenizerError::Model(other.to_owned())),
        };
        Ok(Self { kind, first, stop })
    }

    /// The tokenizer that a model file describes.
    ///
    /// # Errors
    /// A file without a vocabulary, and those of [`Tokenizer::new`].
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, TokenizerError> {
        Self::new(Vocabulary::from_gguf(gguf)?)
    }

    /// Tokens of a text that starts a sequence: with the model's first token, where it wants one.
    ///
    /// # Errors
    /// Only those of the tokenizers crate.
    pub fn encode(&self, text: &str) -> Result<Encoded, TokenizerError> {
        let mut encoded = match &self.kind {
            Kind::ByteLevel(_) => self.encode_continuation(text)?,
            Kind::Scored(scored) => scored.encode(text, true),
        };
        if let Some(first) = self.first {
            encoded.ids.insert(0, first);
            encoded.spans.insert(0, (0, 0));
        }
        Ok(encoded)
    }

    /// Tokens of a text that goes on from another one: no first token, no space added.
    ///
    /// # Errors
    /// Only those of the tokenizers crate.
    pub fn encode_continuation(&self, text: &str) -> Result<Encoded, TokenizerError> {
        match &self.kind {
            Kind::ByteLevel(inner) => {
                let encoding = inner.encode(text, false).map_err(|e| TokenizerError::Encode(e.to_string()))?;
                Ok(Encoded { ids: encoding.get_ids().to_vec(), spans: encoding.get_offsets().to_vec() })
            }
            Kind::Scored(scored) => Ok(scored.encode(text, false)),
        }
    }

    /// Text of tokens, as it goes on from another text; control tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        match &self.kind {
            Kind::ByteLevel(inner) => inner.decode(ids, true).unwrap_or_default(),
            Kind::Scored(scored) => scored.decode(ids),
        }
    }

    /// Whether tokens can express this text: it comes back from its tokens, up to the model's Unicode normalisation.
    pub fn can_express(&self, text: &str) -> bool {
        let Ok(encoded) = self.encode_continuation(text) else { return false };
        let mut normal = NormalizedString::from(text);
        if let Kind::ByteLevel(inner) = &self.kind
            && let Some(normalizer) = inner.get_normalizer()
            && normalizer.normalize(&mut normal).is_err()
        {
            return false;
        }
        !encoded.ids.is_empty() && self.decode(&encoded.ids) == normal.get()
    }

    /// Tokens that end a text.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }
}

/// What `tokenizer.ggml.pre` stands for.
struct PreTokenization {
    pattern: Option<&'static str>,
    nfc: bool,
    /// A whole piece that is in the vocabulary is one token, whatever the merges say.
    ignore_merges: bool,
}

fn pre_tokenization(pre: &str) -> Result<PreTokenization, TokenizerError> {
    match pre {
        "qwen2" | "deepseek-r1-qwen" => Ok(PreTokenization { pattern: Some(QWEN2), nfc: true, ignore_merges: false }),
        "llama-bpe" | "llama3" | "llama-v3" => {
            Ok(PreTokenization { pattern: Some(LLAMA3), nfc: false, ignore_merges: true })
        }
        "gpt-2" | "default" => Ok(PreTokenization { pattern: None, nfc: false, ignore_merges: false }),
        other => Err(TokenizerError::PreTokenizer(other.to_owned())),
    }
}

fn byte_level(vocabulary: Vocabulary) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let inconsistent = |e: tokenizers::Error| TokenizerError::Inconsistent(e.to_string());
    let pre = pre_tokenization(&vocabulary.pre)?;
    let added: Vec<AddedToken> = vocabulary
        .tokens
        .iter()
        .zip(&vocabulary.types)
        .filter(|(_, kind)| matches!(kind, TokenType::Control | TokenType::UserDefined))
        .map(|(token, kind)| AddedToken::from(token.clone(), *kind == TokenType::Control).normalized(false))
        .collect();
    let longest = vocabulary.tokens.iter().map(String::len).max().unwrap_or(0);
    // The builder takes for granted that a merge is no longer than the longest token; whether it is one, it finds out.
    if let Some((left, right)) = vocabulary.merges.iter().find(|(left, right)| left.len() + right.len() > longest) {
        return Err(TokenizerError::Inconsistent(format!("the merge of {left:?} and {right:?} is no token")));
    }
    let ids: Vocab = vocabulary.tokens.into_iter().zip(0..).collect();
    let model = BPE::builder()
        .vocab_and_merges(ids, vocabulary.merges)
        .ignore_merges(pre.ignore_merges)
        .build()
        .map_err(inconsistent)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    if pre.nfc {
        tokenizer.with_normalizer(Some(NormalizerWrapper::from(NFC))).map_err(inconsistent)?;
    }
    let bytes = ByteLevel::new(false, true, pre.pattern.is_none());
    let mut steps = Vec::new();
    if let Some(pattern) = pre.pattern {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(inconsistent)?;
        steps.push(PreTokenizerWrapper::from(split));
    }
    steps.push(PreTokenizerWrapper::from(bytes));
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(Sequence::new(steps))));
    tokenizer.with_decoder(Some(bytes));
    tokenizer.add_tokens(added).map_err(inconsistent)?;
    Ok(tokenizer)
}
