//! Texts for tokenizers, and vocabularies from anywhere: tokens are in the vocabulary, and lie in the text where they say.

use mobiedit::host::tokenizer::{Encoded, Tokenizer};
use mobiedit::host::vocabulary::{TokenType, Vocabulary};

use super::input::Input;

/// Longest text: a scored tokenizer takes time with the square of it.
const LONGEST: usize = 400;
/// Most tokens of a vocabulary from anywhere.
const MOST: usize = 300;

/// The first byte says of which kind the tokenizer is, and whether its vocabulary is from anywhere too.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    if kind & 0x80 == 0 {
        return KNOWN.with(|known| {
            let (vocabulary, tokenizer) = &known[usize::from(kind % 8)];
            texts(kind, vocabulary, tokenizer, input);
        });
    }
    let vocabulary = strange(kind, &mut input);
    if let Ok(tokenizer) = Tokenizer::new(vocabulary.clone()) {
        texts(kind, &vocabulary, &tokenizer, input);
    }
}

thread_local! {
    /// Made once: their patterns take long to compile.
    static KNOWN: [(Vocabulary, Tokenizer); 8] = [0, 1, 2, 3, 4, 5, 6, 7].map(|kind| {
        let vocabulary = known(kind);
        (vocabulary.clone(), Tokenizer::new(vocabulary).expect("a vocabulary of ours"))
    });
}

fn texts(kind: u8, vocabulary: &Vocabulary, tokenizer: &Tokenizer, mut input: Input<'_>) {
    let count = vocabulary.tokens.len() as u32;
    let text = String::from_utf8_lossy(input.rest());
    let text: String = text.chars().take(LONGEST).collect();
    let (Ok(whole), Ok(further)) = (tokenizer.encode(&text), tokenizer.encode_continuation(&text)) else { return };
    for (encoded, first) in [(&whole, vocabulary.bos.filter(|_| vocabulary.add_bos)), (&further, None)] {
        inside(encoded, &text);
        let of_text = encoded.ids.strip_prefix(first.as_slice()).expect("it begins with the first token");
        assert!(of_text.iter().all(|id| *id < count), "a token outside of the vocabulary");
    }
    let back = tokenizer.decode(&further.ids);
    if kind & 0x80 == 0 {
        assert!(kind.is_multiple_of(4) || back == text, "{text:?} came back as {back:?}");
    }
    let said = tokenizer.can_express(&text);
    assert!(!said || !further.ids.is_empty());
    let _ = tokenizer.decode(&[0, count.saturating_sub(1), count, u32::MAX]);
}

fn inside(encoded: &Encoded, text: &str) {
    assert_eq!(encoded.ids.len(), encoded.spans.len());
    for &(begin, end) in &encoded.spans {
        assert!(begin <= end && end <= text.len(), "{begin}..{end} of {}", text.len());
        assert!(text.get(begin..end).is_some(), "{begin}..{end} cuts a character of {text:?}");
    }
    assert!(encoded.spans.is_sorted_by_key(|span| span.0), "tokens go back");
}

/// A whole vocabulary: 256 bytes and some pieces. Kind 0 normalises, so that its texts need not come back.
fn known(kind: u8) -> Vocabulary {
    let pre = ["qwen2", "llama-bpe", "gpt-2", ""][usize::from(kind % 4)];
    if pre.is_empty() {
        return scored();
    }
    let mut tokens: Vec<String> = letters().map(String::from).collect();
    let merges = [("e", "r"), ("t", "h"), ("th", "e"), ("\u{120}", "the"), ("\u{c3}", "\u{a9}"), ("1", "2")];
    tokens.extend(merges.iter().map(|(left, right)| format!("{left}{right}")));
    let mut types = vec![TokenType::Normal; tokens.len()];
    tokens.push("<|end|>".to_owned());
    types.push(TokenType::Control);
    // A text that has a mark in it comes back without it.
    types.truncate(tokens.len() - usize::from(!kind.is_multiple_of(4)));
    tokens.truncate(types.len());
    Vocabulary {
        model: "gpt2".to_owned(),
        pre: pre.to_owned(),
        tokens,
        types,
        merges: merges.map(|(left, right)| (left.to_owned(), right.to_owned())).to_vec(),
        bos: Some(3),
        add_bos: kind & 4 != 0,
        ..Vocabulary::default()
    }
}

/// The letters that stand for the 256 bytes in byte-level BPE.
fn letters() -> impl Iterator<Item = char> {
    let shown = |byte: &u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..256).filter(move |byte| !shown(byte)).count() as u32;
    (0..256).filter(shown).chain(256..256 + others).filter_map(char::from_u32)
}

fn scored() -> Vocabulary {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut types = vec![TokenType::Unknown, TokenType::Control, TokenType::Control];
    types.resize(tokens.len(), TokenType::Byte);
    let mut scores = vec![0.0; tokens.len()];
    for (place, piece) in
        ["\u{2581}t", "he", "\u{2581}the", "\u{2581}", "t", "h", "e", "hee", "\u{e9}"].iter().enumerate()
    {
        tokens.push((*piece).to_owned());
        types.push(TokenType::Normal);
        scores.push(-(place as f32));
    }
    Vocabulary {
        model: "llama".to_owned(),
        tokens,
        types,
        scores,
        bos: Some(1),
        add_bos: true,
        ..Vocabulary::default()
    }
}

/// Whatever these bytes say, as a file might have it.
fn strange(kind: u8, input: &mut Input<'_>) -> Vocabulary {
    let count = input.below(MOST);
    let piece = |input: &mut Input<'_>| {
        let len = input.below(6);
        String::from_utf8_lossy(input.take(len)).into_owned()
    };
    let model = if kind & 1 == 0 { "gpt2" } else { "llama" };
    // Seldom one whose pattern takes long to compile.
    let pre = ["gpt-2", "default", "gpt-2", "llama-bpe"][usize::from(kind >> 1 & 3)];
    let mut vocabulary = Vocabulary { model: model.to_owned(), pre: pre.to_owned(), ..Vocabulary::default() };
    for _ in 0..count {
        vocabulary.tokens.push(piece(input));
        vocabulary.types.push(TokenType::from_number(i32::from(input.byte() % 8)));
        vocabulary.scores.push(f32::from_bits(u32::from(input.byte()) << 24 | 0x3F_FFFF));
    }
    for _ in 0..input.below(MOST) {
        let (left, right) = (input.below(count.max(1)), input.below(count.max(1)));
        let text = |at: usize| vocabulary.tokens.get(at).cloned().unwrap_or_default();
        vocabulary.merges.push((text(left), text(right)));
    }
    if input.rarely(2) {
        let joined: Vec<String> = vocabulary.merges.iter().map(|(left, right)| format!("{left}{right}")).collect();
        vocabulary.types.resize(vocabulary.types.len() + joined.len(), TokenType::Normal);
        vocabulary.scores.resize(vocabulary.scores.len() + joined.len(), 0.5);
        vocabulary.tokens.extend(joined);
    }
    vocabulary.bos = input.rarely(2).then(|| input.word());
    (vocabulary.add_bos, vocabulary.add_space) = (input.rarely(2), input.rarely(2));
    vocabulary
}

/// Texts for each tokenizer, and small vocabularies.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let text = "The other\u{a0}one: caf\u{e9} 12345,\r\n\r\n  \u{1F600} e\u{301} \u{6771}\u{4eac}'LL \u{0} <0x41></s>";
    let with = |kind: u8| [&[kind], text.as_bytes()].concat();
    let letters =
        [&[0x80, 4][..], b"\x01a\x00\x01b\x00\x02ab\x00\x01<\x03", &[2, 0, 1, 1, 0, 0, 1, 1], b"abba<a"].concat();
    let pieces =
        [&[0x81, 3][..], b"\x01a\x00\x10\x02<0\x06\x20\x03ab\xE9\x02\xFF", &[0, 1, 1, 9, 0, 0, 0, 1, 1], b"a ab"]
            .concat();
    vec![
        ("qwen2", with(0)),
        ("llama3", with(1)),
        ("gpt2", with(2)),
        ("scored", with(3)),
        ("with-bos", with(5)),
        ("strange-letters", letters),
        ("strange-pieces", pieces),
        ("nothing", vec![0x87]),
    ]
}
