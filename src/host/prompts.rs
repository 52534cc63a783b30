//! From an edit in words to its prompts in tokens: template, subject, target, prefixes.
//!
//! Chooses no prefixes and runs no model.

use std::ops::Range;

use mobiedit_core::problem::{MAX_TARGET_TOKENS, Prompt, Role};

use crate::host::tokenizer::{Tokenizer, TokenizerError};

/// An edit in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditRequest {
    /// The prompt, with one `{}` where the subject goes: "The capital of {} is".
    pub prompt: String,
    /// "France".
    pub subject: String,
    /// "Rome".
    pub target: String,
}

/// Why an edit's words cannot be turned into prompts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The prompt has no `{}`, or more than one.
    #[error("the prompt {prompt:?} has {found} places for the subject: write exactly one {{}} in it")]
    Placeholders {
        /// The prompt.
        prompt: String,
        /// How often `{}` was found.
        found: usize,
    },
    /// The subject is empty.
    #[error("the subject is empty")]
    SubjectEmpty,
    /// The model's vocabulary cannot express the subject.
    #[error("the subject {0:?} cannot be written in the model's tokens")]
    Subject(String),
    /// The target is empty.
    #[error("the target is empty")]
    TargetEmpty,
    /// The model's vocabulary cannot express the target.
    #[error("the target {0:?} cannot be written in the model's tokens")]
    Target(String),
    /// The target has too many tokens.
    #[error("the target has {0} tokens, at most {MAX_TARGET_TOKENS} are possible")]
    TargetTooLong(usize),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl EditRequest {
    /// Rows of a forward pass that no edit of these words needs more of at once, told before there is a tokenizer: a token
    /// has at least a byte. See [`EditPrompts::rows`].
    pub fn most_rows(&self, prefixes: &[&str]) -> usize {
        let words = self.prompt.len() + self.subject.len() + self.target.len() + LONGEST_ESSENCE;
        let from_the_subject_on = words - self.prompt.find("{}").unwrap_or(0);
        let longest_prefix = prefixes.iter().map(|prefix| prefix.len()).max().unwrap_or(0);
        (from_the_subject_on * (prefixes.len() + 1 + ESSENCES.len())).max(longest_prefix + words)
    }
}

/// What else is asked of an edit's subject, and should stay: the words before it and behind it. The first is the published one;
/// the second asks for another fact in the form in which most are asked for.
pub const ESSENCES: [(&str, &str); 2] = [("", " is a"), ("The name of ", " is")];
const LONGEST_ESSENCE: usize = "The name of  is".len();

/// A prompt around its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template<'a> {
    before: &'a str,
    after: &'a str,
}

impl<'a> Template<'a> {
    /// Splits a prompt at its one `{}`; white space at the prompt's end is dropped, since the target brings its own.
    ///
    /// # Errors
    /// [`PromptError::Placeholders`].
    pub fn parse(prompt: &'a str) -> Result<Self, PromptError> {
        let found = prompt.matches("{}").count();
        match prompt.split_once("{}") {
            Some((before, after)) if found == 1 => Ok(Self { before, after: after.trim_end() }),
            _ => Err(PromptError::Placeholders { prompt: prompt.to_owned(), found }),
        }
    }

    /// Tokens of the prompt with `subject` in it, and which of them are the subject's: those that reach across its border
    /// are counted among them.
    ///
    /// # Errors
    /// An empty subject, one that the vocabulary cannot express.
    pub fn tokens(&self, tokenizer: &Tokenizer, subject: &str) -> Result<(Vec<u32>, Range<usize>), PromptError> {
        around(tokenizer, self.before, checked_subject(tokenizer, subject)?, self.after)
    }

    /// The prompt with the subject in it.
    pub fn fill(&self, subject: &str) -> String {
        format!("{}{subject}{}", self.before, self.after)
    }
}

/// A prompt in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPrompt {
    /// All its tokens; of a rewrite prompt's target, all but the last.
    pub tokens: Vec<u32>,
    /// Position of the subject's last token.
    pub subject_last: usize,
    /// What it is for.
    pub role: Role,
}

/// All prompts of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditPrompts {
    /// The prompt as a user would type it.
    pub text: String,
    /// Rewrite prompts, the bare one first, then the essence prompts.
    pub prompts: Vec<TokenPrompt>,
    /// The target, behind a space.
    pub target: Vec<u32>,
}

impl EditPrompts {
    /// The prompts of `request`: bare, behind each of `prefixes` and a space; then [`ESSENCES`], but for the edit's own.
    ///
    /// # Errors
    /// Words that make no edit.
    pub fn new(tokenizer: &Tokenizer, request: &EditRequest, prefixes: &[&str]) -> Result<Self, PromptError> {
        let template = Template::parse(&request.prompt)?;
        let subject = checked_subject(tokenizer, &request.subject)?;
        let target = target_tokens(tokenizer, &request.target)?;
        let mut prompts = Vec::with_capacity(prefixes.len() + 1 + ESSENCES.len());
        for prefix in core::iter::once("").chain(prefixes.iter().copied()) {
            let lead = if prefix.is_empty() { String::new() } else { format!("{} ", prefix.trim_end()) };
            let before = format!("{lead}{}", template.before);
            let mut prompt = tokenise(tokenizer, &before, subject, template.after, Role::Rewrite)?;
            prompt.tokens.extend(target.iter().take(target.len() - 1));
            prompts.push(prompt);
        }
        // An essence prompt that is the edit's own would hold on to what is to change.
        for (before, after) in ESSENCES.into_iter().filter(|words| *words != (template.before, template.after)) {
            prompts.push(tokenise(tokenizer, before, subject, after, Role::Essence)?);
        }
        Ok(Self { text: template.fill(subject), prompts, target })
    }

    /// Rows of a forward pass that the search needs at once: one candidate's rows from the subject on, or the longest
    /// prompt.
    pub fn rows(&self) -> usize {
        let prompts = self.lend();
        let longest = prompts.iter().map(|prompt| prompt.tokens.len()).max().unwrap_or(0);
        prompts.iter().map(Prompt::suffix_rows).sum::<usize>().max(longest)
    }

    /// The prompts as the editor takes them.
    pub fn lend(&self) -> Vec<Prompt<'_>> {
        self.prompts.iter().map(|p| Prompt { tokens: &p.tokens, subject_last: p.subject_last, role: p.role }).collect()
    }
}

fn checked_subject<'a>(tokenizer: &Tokenizer, subject: &'a str) -> Result<&'a str, PromptError> {
    let subject = subject.trim();
    if subject.is_empty() {
        return Err(PromptError::SubjectEmpty);
    }
    if !tokenizer.can_express(subject) {
        return Err(PromptError::Subject(subject.to_owned()));
    }
    Ok(subject)
}

/// Tokens of the target as it follows a prompt: behind one space.
///
/// # Errors
/// An empty target, one of more than 32 tokens, one that the vocabulary cannot express.
pub fn target_tokens(tokenizer: &Tokenizer, target: &str) -> Result<Vec<u32>, PromptError> {
    let ids = answer_tokens(tokenizer, target)?;
    if ids.len() > MAX_TARGET_TOKENS { Err(PromptError::TargetTooLong(ids.len())) } else { Ok(ids) }
}

/// The same for an answer that no edit has to reach: as long as it likes.
///
/// # Errors
/// An empty answer, one that the vocabulary cannot express.
pub fn answer_tokens(tokenizer: &Tokenizer, target: &str) -> Result<Vec<u32>, PromptError> {
    let target = target.trim();
    if target.is_empty() {
        return Err(PromptError::TargetEmpty);
    }
    if !tokenizer.can_express(target) {
        return Err(PromptError::Target(target.to_owned()));
    }
    Ok(tokenizer.encode_continuation(&format!(" {target}"))?.ids)
}

/// Tokens of `before + subject + after`, and the position of the token that holds the subject's last byte: tokens that
/// reach across the subject's border are counted as the subject's.
///
/// # Errors
/// A subject that no token covers.
pub fn tokenise(
    tokenizer: &Tokenizer,
    before: &str,
    subject: &str,
    after: &str,
    role: Role,
) -> Result<TokenPrompt, PromptError> {
    let (tokens, of_subject) = around(tokenizer, before, subject, after)?;
    Ok(TokenPrompt { tokens, subject_last: of_subject.end - 1, role })
}

/// Tokens of `before + subject + after`, and the positions of the subject's, at least one.
fn around(
    tokenizer: &Tokenizer,
    before: &str,
    subject: &str,
    after: &str,
) -> Result<(Vec<u32>, Range<usize>), PromptError> {
    let encoded = tokenizer.encode(&format!("{before}{subject}{after}"))?;
    let (first, end) = (before.len(), before.len() + subject.len());
    let of_subject = |&(from, to): &(usize, usize)| from < end && to > first && from < to;
    let positions = encoded.spans.iter().position(of_subject).zip(encoded.spans.iter().rposition(of_subject));
    let (first, last) = positions.ok_or_else(|| PromptError::Subject(subject.to_owned()))?;
    Ok((encoded.ids, first..last + 1))
}
