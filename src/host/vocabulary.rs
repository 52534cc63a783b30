//! A tokenizer as a model file describes it: pieces, merges, scores, special tokens. Tokenises nothing.

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
