//! A Rust file split into its code and its comments, byte for byte at the same places.
//!
//! It knows comments, strings and character literals, so that a word in them is not taken for code. It knows no grammar.

/// One file: the text, and the text with everything but code, or but comments, blanked out.
pub(super) struct Source {
    /// Path from the repository's root, with `/`.
    pub(super) path: String,
    /// The file as it is.
    pub(super) text: String,
    /// Code; comments and the contents of literals are spaces.
    pub(super) code: String,
    /// Comments; all else is spaces.
    pub(super) comments: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let (mut code, mut comments) = (blank(text), blank(text));
        let mut at = 0;
        while at < text.len() {
            let (end, kind) = token(text, at);
            match kind {
                Kind::Code => code[at..end].copy_from_slice(&text.as_bytes()[at..end]),
                Kind::Comment => comments[at..end].copy_from_slice(&text.as_bytes()[at..end]),
                Kind::Literal => {}
            }
            at = end;
        }
        let string = |bytes| String::from_utf8(bytes).expect("whole tokens were copied over spaces");
        Self { path: path.into(), text: text.into(), code: string(code), comments: string(comments) }
    }

    /// The line of a byte offset, counted from one.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// Where `word` stands in `code` as a whole word.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let of_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 128);
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        !of_word(at.checked_sub(1).and_then(|before| bytes.get(before))) && !of_word(bytes.get(at + word.len()))
    })
}

enum Kind {
    Code,
    Comment,
    Literal,
}

fn blank(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| if byte == b'\n' { byte } else { b' ' }).collect()
}

/// The end of the token at `at` and what it is. A plain character of code is a token of its own.
fn token(text: &str, at: usize) -> (usize, Kind) {
    let rest = &text[at..];
    let within = |length: usize, kind| (at + length.min(rest.len()), kind);
    if rest.starts_with("//") {
        return within(rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return within(block_comment(rest), Kind::Comment);
    }
    if let Some(length) = raw_string(text, at) {
        return within(length, Kind::Literal);
    }
    if rest.starts_with('"') {
        return within(quoted(rest, '"'), Kind::Literal);
    }
    if rest.starts_with('\'') && is_character(rest) {
        return within(quoted(rest, '\''), Kind::Literal);
    }
    within(rest.chars().next().map_or(1, char::len_utf8), Kind::Code)
}

/// Length of a block comment with the ones inside it.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let bytes = &rest.as_bytes()[at..];
        if bytes.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of `r"..."`, `r#"..."#`, `br"..."` at `at`, if one starts there.
fn raw_string(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let in_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|prefix| rest.strip_prefix(prefix).is_some_and(|after| after.trim_start_matches('#').starts_with('"')))?;
    if in_word {
        return None;
    }
    let open = prefix.len() + rest[prefix.len()..].find('"')?;
    let close = format!("\"{}", &rest[prefix.len()..open]);
    let end = rest[open + 1..].find(&close).map_or(rest.len(), |found| open + 1 + found + close.len());
    Some(end)
}

/// Length of a literal in `quote`s, with escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Tells `'a'` from the lifetime `'a`.
fn is_character(rest: &str) -> bool {
    let mut after = rest.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        Some(_) => after.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("a.rs", text).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        for (text, expected) in [
            ("a // b", "a"),
            ("a /* b /* c */ d */ e", "a e"),
            ("a \"b \\\" c\" d", "a d"),
            ("a r#\"b \" c\"# d", "a d"),
            ("a br\"b\\\" d", "a d"),
            ("a '\"' b \"c\" d", "a b d"),
            ("a '\\'' b", "a b"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("r#type é 'é' b", "r#type é b"),
            ("bar\"b\" c", "bar c"),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn offsets_and_lines_stay() {
        let text = "/* é\n */ one \"\n\" two\n";
        let source = Source::new("a.rs", text);
        assert_eq!(source.code.len(), text.len());
        assert_eq!(source.code.find("two"), text.find("two"));
        assert_eq!(source.line(text.find("two").unwrap()), 3);
        assert_eq!(source.comments.trim(), "/* é\n */");
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<usize> = words("std xstd std_x std::a r#std", "std").collect();
        assert_eq!(found, [0, 15, 24]);
    }
}
