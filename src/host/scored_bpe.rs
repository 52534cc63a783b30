//! SentencePiece's BPE as Llama 2 uses it: neighbours are joined in the order of their pieces' scores; what no piece
//! covers becomes byte tokens.
//!
//! Written for prompts: its time grows with the square of a text's length.

use std::collections::HashMap;

use crate::host::tokenizer::{Encoded, TokenizerError};
use crate::host::vocabulary::{TokenType, Vocabulary};

/// How model files write a space inside a piece.
const SPACE: char = '\u{2581}';

/// A vocabulary of scored pieces.
#[derive(Debug)]
pub(crate) struct ScoredBpe {
    /// Id and score of each piece of text.
    pieces: HashMap<String, (u32, f32)>,
    /// Ids of the 256 byte tokens.
    bytes: HashMap<u8, u32>,
    /// What each id stands for.
    texts: Vec<Vec<u8>>,
    unknown: Option<u32>,
    add_space: bool,
}

/// A piece of the text while neighbours are being joined: its text and its bytes in the original.
struct Symbol {
    text: String,
    span: (usize, usize),
}

impl ScoredBpe {
    pub(crate) fn new(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        if vocabulary.scores.len() != vocabulary.tokens.len() {
            return Err(TokenizerError::Metadata("tokenizer.ggml.scores"));
        }
        let (mut pieces, mut bytes) = (HashMap::new(), HashMap::new());
        let mut texts = Vec::with_capacity(vocabulary.tokens.len());
        let mut unknown = None;
        let rows = vocabulary.tokens.iter().zip(&vocabulary.types).zip(&vocabulary.scores);
        for (id, ((token, kind), score)) in (0..).zip(rows) {
            let mut text = Vec::new();
            match (kind, byte_of(token)) {
                (TokenType::Control, _) => {}
                (TokenType::Unknown, _) => unknown = Some(id),
                (_, Some(byte)) => {
                    bytes.insert(byte, id);
                    text.push(byte);
                }
                _ => {
                    let piece = token.replace(SPACE, " ");
                    text.extend_from_slice(piece.as_bytes());
                    pieces.entry(piece).or_insert((id, *score));
                }
            }
            texts.push(text);
        }
        Ok(Self { pieces, bytes, texts, unknown, add_space: vocabulary.add_space })
    }

    /// Tokens of `text`; behind the space that SentencePiece puts before a text, if it starts one.
    pub(crate) fn encode(&self, text: &str, starts: bool) -> Encoded {
        let mut symbols = Vec::new();
        if starts && self.add_space && !text.is_empty() {
            symbols.push(Symbol { text: " ".to_owned(), span: (0, 0) });
        }
        symbols
            .extend(text.char_indices().map(|(at, c)| Symbol { text: c.to_string(), span: (at, at + c.len_utf8()) }));
        while let Some(left) = self.best_pair(&symbols) {
            let right = symbols.remove(left + 1);
            let joined = &mut symbols[left];
            joined.text.push_str(&right.text);
            joined.span.1 = right.span.1;
        }
        let mut encoded = Encoded::default();
        for symbol in &symbols {
            self.emit(symbol, &mut encoded);
        }
        encoded
    }

    /// The left one of the two neighbours whose joined piece has the highest score, the first among equals.
    fn best_pair(&self, symbols: &[Symbol]) -> Option<usize> {
        let mut best: Option<(usize, f32)> = None;
        for (index, pair) in symbols.windows(2).enumerate() {
            let joined = format!("{}{}", pair[0].text, pair[1].text);
            if let Some((_, score)) = self.pieces.get(&joined)
                && best.is_none_or(|(_, most)| *score > most)
            {
                best = Some((index, *score));
            }
        }
        best.map(|(index, _)| index)
    }

    fn emit(&self, symbol: &Symbol, encoded: &mut Encoded) {
        let mut push = |id| {
            encoded.ids.push(id);
            encoded.spans.push(symbol.span);
        };
        if let Some((id, _)) = self.pieces.get(&symbol.text) {
            push(*id);
            return;
        }
        for byte in symbol.text.bytes() {
            if let Some(id) = self.bytes.get(&byte).copied().or(self.unknown) {
                push(id);
            }
        }
    }

    /// Text of tokens; the space before a text that starts a sequence is kept.
    pub(crate) fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().filter_map(|&id| self.texts.get(id as usize)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The byte that a token like `<0x0A>` stands for.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores as llama2.c writes them: the later a merge was learnt, the lower.
    fn tokenizer() -> ScoredBpe {
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
        tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>")));
        let mut types = vec![TokenType::Unknown, TokenType::Control, TokenType::Control];
        types.resize(tokens.len(), TokenType::Byte);
        let mut scores = vec![0.0; tokens.len()];
        let pieces = [("\u{2581}t", -1.0), ("he", -2.0), ("\u{2581}the", -3.0), ("\u{2581}", -4.0), ("t", -5.0)];
        for (piece, score) in pieces.into_iter().chain([("h", -6.0), ("e", -7.0), ("hee", -2.5)]) {
            tokens.push(piece.to_owned());
            types.push(TokenType::Normal);
            scores.push(score);
        }
        let vocabulary = Vocabulary { tokens, types, scores, add_space: true, ..Vocabulary::default() };
        ScoredBpe::new(vocabulary).unwrap()
    }

    fn pieces(text: &str) -> Vec<String> {
        let t = tokenizer();
        t.encode(text, true).ids.iter().map(|&id| t.decode(&[id])).collect()
    }

    #[test]
    fn joins_by_score_not_by_position() {
        assert_eq!(pieces("the"), [" the"]);
        assert_eq!(pieces("thee"), [" t", "hee"]);
        assert_eq!(pieces("hehe"), [" ", "he", "he"]);
    }

    #[test]
    fn text_without_a_piece_becomes_bytes_and_comes_back() {
        let t = tokenizer();
        let encoded = t.encode("thé \u{1F600}", false);
        assert_eq!(t.decode(&encoded.ids), "thé \u{1F600}");
        assert_eq!(encoded.spans.last(), Some(&(5, 9)));
    }
}
