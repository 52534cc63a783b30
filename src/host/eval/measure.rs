//! What a model says to a record's prompts, and how that is scored. Makes no edit, and keeps no results.
//!
//! | measure | definition | source |
//! |---|---|---|
//! | `tokens` of an answer | teacher forcing: the share of the wanted answer's tokens that are the argmax, given the prompt and the answer's tokens before; of several right answers, the best | EasyEdit, `test_prediction_acc` |
//! | `exact` of an answer | free greedy generation says the answer's tokens first, and the next one begins no letter or digit, or there is none: "Roman" is not "Rome" | ours: no teacher forcing |
//! | known | some truth is `exact` at the edit's prompt, in the clean model | ours |
//! | `tokens` of what stays | teacher forcing over the data set's first answer (the clean model's own words where it has none): the share of positions whose argmax is the clean model's there. The answer need not be right | EasyEdit, `test_prediction_acc(locality=True)`, compared as in its editor |
//! | `exact` of what stays | the same 8 greedy tokens as the clean model's | ours |
//! | asks the edit | a prompt that should stay, but names the subject and has one of the edit's own truths as an answer ("The constellation of 24 Lyncis is", where the edit is of that constellation) | ours |
//! | likelihoods | mean −log P per token of new and true object, at the prompt, the rephrasings and the neighbourhood | ROME, `test_batch_prediction` |
//! | fluency | [`n_gram_entropy`] of prompt and continuation, 100 tokens in all, sampled from the five likeliest; mean over the prompts | ROME, `test_generation` and `generate_fast`; the edit's own prompt where the data set has none for it: EasyEdit |
//!
//! Answers stand behind one space, as in all three. Differences to the sources: EasyEdit truncates what is long; ROME
//! normalises texts by NFKD. ROME samples anew each time; here the record's number is the seed, so that the clean and the
//! edited model draw the same numbers. CounterFact repeats its generation prompts: each is continued once.

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::host::eval::dataset::{Question, Record};
use crate::host::eval::fluency::n_gram_entropy;
use crate::host::eval::line::{Answer, CounterFact, Kept, Likelihoods};
use crate::host::eval::reading::{Forced, Reading};
use crate::host::prompts::{PromptError, Template, answer_tokens, target_tokens};
use crate::host::session::{Session, SessionError};

/// Tokens of a free answer that are shown, and compared where an answer should stay.
const ANSWER_TOKENS: usize = 8;
/// Tokens of a text for fluency, its prompt among them.
const TEXT_TOKENS: usize = 100;

/// Why a record cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// Words that this model cannot be asked, or the device.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl From<PromptError> for MeasureError {
    fn from(error: PromptError) -> Self {
        Self::Session(error.into())
    }
}

/// What the clean model says about a record: the reference for locality, and whether it knows the fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    /// It says some truth to the edit's prompt.
    pub known: bool,
    /// What it says to the edit's prompt.
    pub before: String,
    /// n-gram entropy of its texts, where asked for.
    pub fluency: Option<f64>,
    /// What it says to each locality prompt.
    kept: Vec<Reference>,
}

/// The clean model at one locality prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reference {
    /// What it says, in tokens.
    greedy: Vec<u32>,
    /// The answer that is forced.
    answer: Vec<u32>,
    /// Its argmax at each position of that answer.
    argmax: Vec<u32>,
}

/// What a model says about a record after the edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// At the edit's prompt.
    pub rewrite: Answer,
    /// At the rephrasings.
    pub rephrase: Vec<Answer>,
    /// At those portability prompts that have an answer.
    pub portability: Vec<Answer>,
    /// At the locality prompts.
    pub locality: Vec<Kept>,
    /// CounterFact only.
    pub counterfact: Option<CounterFact>,
    /// n-gram entropy of its texts, where asked for.
    pub fluency: Option<f64>,
}

impl Clean {
    /// Measures the clean model: no edit may be applied.
    ///
    /// # Errors
    /// Prompts that do not fit the model, failures of the device.
    pub fn measure(session: &mut Session<'_>, record: &Record, fluency: bool) -> Result<Self, MeasureError> {
        let truths = expressible(session, &record.truth);
        let rewrite = ask(session, &edit_prompt(record)?, &truths, None)?.0;
        let kept = record.locality.iter().map(|question| reference(session, question));
        Ok(Self {
            known: rewrite.exact,
            before: rewrite.said,
            kept: kept.collect::<Result<_, _>>()?,
            fluency: fluency.then(|| text_entropy(session, record)).transpose()?,
        })
    }
}

/// Whether the model knows the record's fact: the `known` of [`Clean`] alone.
///
/// # Errors
/// A prompt that does not fit the model, failures of the device.
pub fn knows(session: &mut Session<'_>, record: &Record) -> Result<bool, MeasureError> {
    let truths = expressible(session, &record.truth);
    Ok(ask(session, &edit_prompt(record)?, &truths, None)?.0.exact)
}

/// What the model as it is says to a record's rephrasings: the `rephrase` of [`Measured`] alone.
///
/// # Errors
/// Words that do not fit the model, failures of the device.
pub fn rephrased(session: &mut Session<'_>, record: &Record) -> Result<Vec<Answer>, MeasureError> {
    let target = [target_tokens(&session.tokenizer, &record.request.target)?];
    record.rephrases.iter().map(|prompt| Ok(ask(session, prompt, &target, None)?.0)).collect()
}

/// Measures the model as it is, with its edits, against the `clean` one.
///
/// # Errors
/// Words that do not fit the model, failures of the device.
pub fn measure(
    session: &mut Session<'_>,
    record: &Record,
    clean: &Clean,
    fluency: bool,
) -> Result<Measured, MeasureError> {
    let target = [target_tokens(&session.tokenizer, &record.request.target)?];
    let objects = objects(session, record)?;
    let rewrite = ask(session, &edit_prompt(record)?, &target, objects.as_ref())?;
    let mut rephrase = Vec::new();
    for prompt in &record.rephrases {
        rephrase.push(ask(session, prompt, &target, objects.as_ref())?);
    }
    let mut portability = Vec::new();
    for question in record.portability.iter().filter(|question| !question.answers.is_empty()) {
        let answers = expressible(session, &question.answers);
        portability.push(ask(session, &question.prompt, &answers, None)?.0);
    }
    let mut locality = Vec::new();
    for (question, reference) in record.locality.iter().zip(&clean.kept) {
        let (mut kept, likelihoods) = kept(session, question, reference, objects.as_ref())?;
        kept.asks_the_edit = asks_the_edit(record, question);
        locality.push((kept, likelihoods));
    }
    let counterfact = rewrite.1.map(|at_prompt| CounterFact {
        rewrite: at_prompt,
        paraphrase: rephrase.iter().filter_map(|(_, likelihoods)| *likelihoods).collect(),
        neighbourhood: locality.iter().filter_map(|(_, likelihoods)| *likelihoods).collect(),
    });
    Ok(Measured {
        rewrite: rewrite.0,
        rephrase: rephrase.into_iter().map(|(answer, _)| answer).collect(),
        portability,
        locality: locality.into_iter().map(|(kept, _)| kept).collect(),
        counterfact,
        fluency: fluency.then(|| text_entropy(session, record)).transpose()?,
    })
}

/// Whether a prompt that should stay asks for what is edited.
fn asks_the_edit(record: &Record, question: &Question) -> bool {
    question.prompt.contains(&record.request.subject)
        && question.answers.iter().any(|answer| record.truth.contains(answer))
}

/// The edit's prompt with the subject in it.
fn edit_prompt(record: &Record) -> Result<String, PromptError> {
    Ok(Template::parse(&record.request.prompt)?.fill(&record.request.subject))
}

/// Answers in tokens; those that the vocabulary cannot express are left out, as the model cannot say them.
fn expressible(session: &Session<'_>, answers: &[String]) -> Vec<Vec<u32>> {
    answers.iter().filter_map(|answer| answer_tokens(&session.tokenizer, answer).ok()).collect()
}

/// CounterFact's new and true object in tokens.
struct Objects {
    new: Vec<u32>,
    truth: Vec<u32>,
}

fn objects(session: &Session<'_>, record: &Record) -> Result<Option<Objects>, PromptError> {
    let Some(truth) = record.truth.first().filter(|_| record.compares_objects) else { return Ok(None) };
    Ok(Some(Objects {
        new: target_tokens(&session.tokenizer, &record.request.target)?,
        truth: answer_tokens(&session.tokenizer, truth)?,
    }))
}

impl Objects {
    fn len(&self) -> usize {
        self.new.len().max(self.truth.len())
    }

    fn likelihoods(&self, reading: &mut Reading<'_, '_>) -> Result<Likelihoods, SessionError> {
        Ok(Likelihoods { new: mean(&reading.forced(&self.new)?.nll), truth: mean(&reading.forced(&self.truth)?.nll) })
    }
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len().max(1) as f64
}

/// Share of positions at which two lists of tokens agree; 1 where there is none.
fn agreement(one: &[u32], other: &[u32]) -> f64 {
    let same = one.iter().zip(other).filter(|(a, b)| a == b).count();
    if one.is_empty() { 1.0 } else { same as f64 / one.len() as f64 }
}

/// What is said to a prompt that any of `answers` is right for, and how likely the `objects` are there.
fn ask(
    session: &mut Session<'_>,
    prompt: &str,
    answers: &[Vec<u32>],
    objects: Option<&Objects>,
) -> Result<(Answer, Option<Likelihoods>), SessionError> {
    let most = answers.iter().map(Vec::len).max().unwrap_or(0).max(objects.map_or(0, Objects::len));
    let most = ANSWER_TOKENS.max(most + 1);
    let (said, tokens, likelihoods) = session.reading(prompt, most, |reading| {
        let said = reading.greedy(most)?;
        let mut tokens = 0.0_f64;
        for answer in answers {
            let Forced { argmax, .. } = reading.forced(answer)?;
            tokens = tokens.max(agreement(answer, &argmax));
        }
        Ok((said, tokens, objects.map(|objects| objects.likelihoods(reading)).transpose()?))
    })?;
    let exact = answers.iter().any(|answer| says(session, &said, answer));
    let said = shown(session, &said);
    Ok((Answer { prompt: prompt.to_owned(), tokens, exact, said }, likelihoods))
}

/// Whether `said` begins with `answer` and ends a word there. Half a character ends none.
fn says(session: &Session<'_>, said: &[u32], answer: &[u32]) -> bool {
    let with_next = said.get(..said.len().min(answer.len() + 1)).unwrap_or(said);
    let (text, with_next_text) = (session.tokenizer.decode(answer), session.tokenizer.decode(with_next));
    let behind = with_next_text.strip_prefix(text.as_str()).and_then(|behind| behind.chars().next());
    let goes_on = behind.is_some_and(|c| c.is_alphanumeric() || c == char::REPLACEMENT_CHARACTER);
    said.starts_with(answer) && !goes_on
}

/// The begin of an answer, in words.
fn shown(session: &Session<'_>, said: &[u32]) -> String {
    let begin = said.get(..ANSWER_TOKENS).unwrap_or(said);
    session.tokenizer.decode(begin).trim().to_owned()
}

fn reference(session: &mut Session<'_>, question: &Question) -> Result<Reference, SessionError> {
    let answer = expressible(session, &question.answers).into_iter().next();
    let most = ANSWER_TOKENS.max(answer.as_ref().map_or(0, Vec::len));
    session.reading(&question.prompt, most, |reading| {
        let greedy = reading.greedy(ANSWER_TOKENS)?;
        let answer = answer.unwrap_or_else(|| greedy.clone());
        let argmax = reading.forced(&answer)?.argmax;
        Ok(Reference { greedy, answer, argmax })
    })
}

fn kept(
    session: &mut Session<'_>,
    question: &Question,
    clean: &Reference,
    objects: Option<&Objects>,
) -> Result<(Kept, Option<Likelihoods>), SessionError> {
    let most = ANSWER_TOKENS.max(clean.answer.len()).max(objects.map_or(0, Objects::len));
    let (greedy, argmax, likelihoods) = session.reading(&question.prompt, most, |reading| {
        let likelihoods = objects.map(|objects| objects.likelihoods(reading)).transpose()?;
        Ok((reading.greedy(ANSWER_TOKENS)?, reading.forced(&clean.answer)?.argmax, likelihoods))
    })?;
    let kept = Kept {
        prompt: question.prompt.clone(),
        tokens: agreement(&clean.argmax, &argmax),
        exact: greedy == clean.greedy,
        before: shown(session, &clean.greedy),
        after: shown(session, &greedy),
        asks_the_edit: false,
    };
    Ok((kept, likelihoods))
}

/// Mean n-gram entropy of the texts that the model makes of the record's prompts for that, or of the edit's prompt.
fn text_entropy(session: &mut Session<'_>, record: &Record) -> Result<f64, MeasureError> {
    let mut prompts: Vec<String> = Vec::new();
    for prompt in &record.generation {
        if !prompts.contains(prompt) {
            prompts.push(prompt.clone());
        }
    }
    if prompts.is_empty() {
        prompts.push(edit_prompt(record)?);
    }
    let mut entropies = Vec::new();
    for (index, prompt) in prompts.iter().enumerate() {
        let seed = ((record.number as u64) << 32) | index as u64;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let tokens = session.reading(prompt, TEXT_TOKENS, |reading| {
            reading.sampled(TEXT_TOKENS.saturating_sub(reading.prompt_tokens()), &mut rng)
        })?;
        entropies.push(n_gram_entropy(&format!("{prompt}{}", session.tokenizer.decode(&tokens))));
    }
    Ok(mean(&entropies))
}
