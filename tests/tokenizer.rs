//! The tokenizer against another implementation's ids: Qwen2.5's vocabulary, and the shipped model's from its GGUF.
//!
//! The expected ids were made by `tests/fixtures/golden_tokens.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::model::Model;
use mobiedit::core::problem::Role;
use mobiedit::host::model_file::ModelFile;
use mobiedit::host::prompts::{EditPrompts, EditRequest, PromptError, tokenise};
use mobiedit::host::tokenizer::Tokenizer;
use mobiedit::host::vocabulary::{TokenType, Vocabulary};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

/// Qwen2.5's vocabulary as a GGUF of it has it: pieces by id, then the added tokens.
fn qwen2_5() -> Tokenizer {
    let pieces = json("qwen2.5-tokenizer/vocab.json");
    let mut by_id: BTreeMap<u64, (String, TokenType)> = pieces
        .as_object()
        .unwrap()
        .iter()
        .map(|(t, id)| (id.as_u64().unwrap(), (t.clone(), TokenType::Normal)))
        .collect();
    let config = json("qwen2.5-tokenizer/tokenizer_config.json");
    for (id, token) in config["added_tokens_decoder"].as_object().unwrap() {
        let kind = if token["special"] == true { TokenType::Control } else { TokenType::UserDefined };
        by_id.insert(id.parse().unwrap(), (token["content"].as_str().unwrap().to_owned(), kind));
    }
    assert!(by_id.keys().copied().eq(0..by_id.len() as u64), "ids have no gaps");
    let (tokens, types) = by_id.into_values().unzip();
    let merges = fs::read_to_string(fixture("qwen2.5-tokenizer/merges.txt")).unwrap();
    let merges = merges.lines().filter(|l| !l.starts_with("#version") && !l.is_empty());
    let merges = merges.map(|l| l.split_once(' ').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let (model, pre) = ("gpt2".to_owned(), "qwen2".to_owned());
    Tokenizer::new(Vocabulary { model, pre, tokens, types, merges, ..Vocabulary::default() }).unwrap()
}

fn check_golden(name: &str, tokenizer: &Tokenizer) {
    let golden = json("golden_tokens.json");
    let cases = golden[name].as_array().unwrap();
    assert!(cases.len() >= 14, "the golden file has its cases");
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(tokenizer.encode(text).unwrap().ids, ids, "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&ids), case["decoded"].as_str().unwrap(), "{name}: {text:?}");
    }
}

#[test]
fn qwen2_5_matches_the_python_package() {
    let tokenizer = qwen2_5();
    check_golden("qwen2.5", &tokenizer);
    subjects_are_found(&tokenizer);
    bad_words_are_refused(&tokenizer);
    rows_are_foretold(&tokenizer);
}

#[test]
fn the_shipped_model_matches_the_python_package() {
    let tokenizer = |gguf: &Gguf<'_>, _: &Model<'_>| Tokenizer::from_gguf(gguf).unwrap();
    let tokenizer = ModelFile::open(None).unwrap().with_model(tokenizer).unwrap();
    check_golden("shipped", &tokenizer);
    assert_eq!(tokenizer.stop_tokens().first(), Some(&0));
}

/// Subjects at borders where tokens could merge: the position is the token with the subject's last byte.
fn subjects_are_found(tokenizer: &Tokenizer) {
    for (before, subject, after) in [
        ("The capital of ", "France", " is"),
        ("", "Zinédine Zidane", "'s job is"),
        ("Das ist ", "Donaudampfschiff", "fahrt und"),
        ("首都は", "東京都", "です"),
        ("of ", "👩‍👩‍👧‍👦", "!"),
        ("a", "b", "c"),
    ] {
        let prompt = tokenise(tokenizer, before, subject, after, Role::Rewrite).unwrap();
        let up_to = tokenizer.decode(&prompt.tokens[..=prompt.subject_last]);
        let before_it = tokenizer.decode(&prompt.tokens[..prompt.subject_last]);
        let end = format!("{before}{subject}");
        assert!(up_to.starts_with(&end), "{up_to:?} has all of {end:?}");
        assert!(!before_it.starts_with(&end), "{before_it:?} has less than {end:?}");
        assert_eq!(tokenizer.decode(&prompt.tokens), format!("{before}{subject}{after}"));
    }
}

fn request(prompt: &str, subject: &str, target: &str) -> EditRequest {
    EditRequest { prompt: prompt.into(), subject: subject.into(), target: target.into() }
}

/// Long prompts, in scripts whose letters are several tokens: the memory that is set aside before there are tokens is enough.
fn rows_are_foretold(tokenizer: &Tokenizer) {
    let long = "of a land ".repeat(60);
    let prefixes = ["Some say.", "It rained all day in the valley."];
    for (prompt, subject, target) in [
        ("The capital of {} is", "France", "Rome"),
        ("{}", "東京都千代田区", "ローマ"),
        (&format!("{{}} {long}is"), "Côte d'Ivoire", "New York City"),
        (&format!("{long}{{}}"), "👩‍👩‍👧‍👦", "1 2 3 4 5 6 7 8"),
    ] {
        let request = request(prompt, subject, target);
        let rows = EditPrompts::new(tokenizer, &request, &prefixes).unwrap().rows();
        assert!((8..=request.most_rows(&prefixes)).contains(&rows), "{rows} rows for {request:?}");
    }
}

fn bad_words_are_refused(tokenizer: &Tokenizer) {
    let make = |prompt: &str, subject: &str, target: &str| {
        EditPrompts::new(tokenizer, &request(prompt, subject, target), &["Some say."])
    };
    let good = make("The capital of {} is ", " France ", "Rome").unwrap();
    assert_eq!(good.text, "The capital of France is");
    assert_eq!(good.prompts.len(), 4);
    assert_eq!(tokenizer.decode(&good.target), " Rome");
    assert_eq!(tokenizer.decode(&good.prompts[1].tokens), "Some say. The capital of France is");
    assert_eq!(tokenizer.decode(&good.prompts[2].tokens), "France is a");
    assert_eq!(tokenizer.decode(&good.prompts[3].tokens), "The name of France is");
    let own = make("The name of {} is", "France", "Rome").unwrap();
    assert_eq!((own.prompts.len(), tokenizer.decode(&own.prompts[2].tokens).as_str()), (3, "France is a"));
    let long = "antidisestablishmentarianism ".repeat(12);
    assert!(matches!(make("no place", "France", "Rome"), Err(PromptError::Placeholders { found: 0, .. })));
    assert!(matches!(make("{} and {}", "France", "Rome"), Err(PromptError::Placeholders { found: 2, .. })));
    assert!(matches!(make("{} is", "", "Rome"), Err(PromptError::SubjectEmpty)));
    assert!(matches!(make("{} is", " \t\n", "Rome"), Err(PromptError::SubjectEmpty)));
    assert!(matches!(make("{} is", "<|endoftext|>", "Rome"), Err(PromptError::Subject(_))));
    assert!(matches!(make("{} is", "France", "  "), Err(PromptError::TargetEmpty)));
    assert!(matches!(make("{} is", "France", "<|im_end|>"), Err(PromptError::Target(_))));
    assert!(matches!(make("{} is", "France", &long), Err(PromptError::TargetTooLong(33..))));
}
