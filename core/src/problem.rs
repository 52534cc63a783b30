//! What an edit is asked to do, in tokens: prompts, subject positions, target, layer.
//!
//! Does not tokenise and does not choose prefixes; the caller brings ids.

use core::fmt;

use crate::backend::ModelSpec;

/// Most prompts in one problem, rewrite and essence prompts together.
pub const MAX_PROMPTS: usize = 16;
/// Longest target in tokens.
pub const MAX_TARGET_TOKENS: usize = 32;

/// What a prompt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Should end in the target: the last `target.len()` rows of `tokens` predict it.
    Rewrite,
    /// What else is known of the subject, "{subject} is a": its last row's distribution should stay as it was.
    Essence,
}

/// One token sequence of an edit.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// For [`Role::Rewrite`]: prefix, prompt and all target tokens but the last. For [`Role::Essence`]: all of it.
    pub tokens: &'a [u32],
    /// Position `s` of the subject's last token.
    pub subject_last: usize,
    /// What the prompt is for.
    pub role: Role,
}

impl Prompt<'_> {
    /// Rows that a δ can change: positions `s..T`.
    pub fn suffix_rows(&self) -> usize {
        self.tokens.len().saturating_sub(self.subject_last)
    }
}

/// Some of a problem's prompts, by their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PromptSet(u16);

impl PromptSet {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them, however many there are.
    pub const ALL: Self = Self(u16::MAX);

    /// These, and prompt `index`, if a problem can have so many.
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        if index < MAX_PROMPTS { Self(self.0 | 1 << index) } else { self }
    }

    /// Whether prompt `index` is one of them.
    pub const fn contains(self, index: usize) -> bool {
        index < MAX_PROMPTS && self.0 >> index & 1 == 1
    }
}

/// An edit to be made: checked prompts, target and layer. Rewrite prompts come first, essence prompts behind them.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    prompts: &'a [Prompt<'a>],
    target: &'a [u32],
    layer: usize,
}

/// Why a [`Problem`] cannot be posed to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProblemError {
    /// No rewrite prompt, or more than [`MAX_PROMPTS`] prompts.
    PromptCount(usize),
    /// The target has no token.
    TargetEmpty,
    /// The target has more than [`MAX_TARGET_TOKENS`] tokens.
    TargetTooLong(usize),
    /// The layer is not one of the model's, or its last (nothing above it could read the change).
    Layer {
        /// The layer asked for.
        layer: usize,
        /// Number of layers of the model.
        layers: usize,
    },
    /// The prompt with this index is longer than the model's context.
    PromptTooLong(usize),
    /// The prompt with this index has its subject outside of it, or behind the first row that predicts the target.
    Subject(usize),
    /// The prompt with this index names a token outside the vocabulary.
    Token(usize),
    /// The rewrite prompt with this index does not end in the target without its last token: what its last rows predict
    /// would not be the target.
    Target(usize),
    /// An essence prompt stands before a rewrite prompt.
    EssenceOrder,
}

impl fmt::Display for ProblemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PromptCount(n) => write!(f, "{n} prompts given, 1 to {MAX_PROMPTS} needed"),
            Self::TargetEmpty => write!(f, "the target is empty"),
            Self::TargetTooLong(n) => write!(f, "the target has {n} tokens, at most {MAX_TARGET_TOKENS} are possible"),
            Self::Layer { layer, layers } => {
                write!(f, "layer {layer} cannot be edited: the model has {layers}, the last one excluded")
            }
            Self::PromptTooLong(i) => write!(f, "prompt {i} is longer than the model's context"),
            Self::Subject(i) => write!(f, "prompt {i} has its subject in the wrong place"),
            Self::Token(i) => write!(f, "prompt {i} has a token outside the vocabulary"),
            Self::Target(i) => write!(f, "prompt {i} does not end in the target without its last token"),
            Self::EssenceOrder => write!(f, "the rewrite prompts must come first, the essence prompts behind them"),
        }
    }
}

impl core::error::Error for ProblemError {}

impl<'a> Problem<'a> {
    /// Checks the parts against each other and against the model.
    pub fn new(
        spec: &ModelSpec,
        layer: usize,
        prompts: &'a [Prompt<'a>],
        target: &'a [u32],
    ) -> Result<Self, ProblemError> {
        if layer >= spec.layers.saturating_sub(1) {
            return Err(ProblemError::Layer { layer, layers: spec.layers });
        }
        if target.is_empty() {
            return Err(ProblemError::TargetEmpty);
        }
        if target.len() > MAX_TARGET_TOKENS {
            return Err(ProblemError::TargetTooLong(target.len()));
        }
        let rewrites = prompts.iter().take_while(|p| p.role == Role::Rewrite).count();
        if rewrites == 0 || prompts.len() > MAX_PROMPTS {
            return Err(ProblemError::PromptCount(prompts.len()));
        }
        if prompts.iter().skip(rewrites).any(|p| p.role == Role::Rewrite) {
            return Err(ProblemError::EssenceOrder);
        }
        for (index, prompt) in prompts.iter().enumerate() {
            let tokens = prompt.tokens.len();
            if tokens > spec.max_tokens {
                return Err(ProblemError::PromptTooLong(index));
            }
            let read_rows = if prompt.role == Role::Rewrite { target.len() } else { 1 };
            if prompt.subject_last.saturating_add(read_rows) > tokens {
                return Err(ProblemError::Subject(index));
            }
            if prompt.tokens.iter().chain(target).any(|&t| t as usize >= spec.vocab) {
                return Err(ProblemError::Token(index));
            }
            let fed = target.split_last().map_or(target, |(_, fed)| fed);
            if prompt.role == Role::Rewrite && !prompt.tokens.ends_with(fed) {
                return Err(ProblemError::Target(index));
            }
        }
        Ok(Self { prompts, target, layer })
    }

    /// All prompts, the rewrite prompts first.
    pub fn prompts(&self) -> &'a [Prompt<'a>] {
        self.prompts
    }

    /// The prompts that should end in the target.
    pub fn rewrites(&self) -> &'a [Prompt<'a>] {
        let count = self.prompts.iter().take_while(|p| p.role == Role::Rewrite).count();
        self.prompts.get(..count).unwrap_or(self.prompts)
    }

    /// Position of the subject's last token once more, behind the subject in the first prompt, if it is there: a target may
    /// name the subject ("John Keynes" for the father of Geoffrey Keynes), and a patch must not act there.
    pub fn echo(&self) -> Option<usize> {
        let first = self.prompts.first()?;
        let (subject, behind) = first.tokens.get(first.subject_last..)?.split_first()?;
        Some(first.subject_last + 1 + behind.iter().position(|token| token == subject)?)
    }

    /// Rows of keys that [`prefill`](crate::backend::ForwardBackend::prefill) gives: one per prompt, and the echo's.
    pub fn key_rows(&self) -> usize {
        self.prompts.len() + usize::from(self.echo().is_some())
    }

    /// The prompts whose distribution should stay.
    pub fn essences(&self) -> &'a [Prompt<'a>] {
        self.prompts.get(self.rewrites().len()..).unwrap_or(&[])
    }

    /// Those of the prompts that `which` names, with their indices.
    pub fn chosen(&self, which: PromptSet) -> impl Iterator<Item = (usize, &'a Prompt<'a>)> + use<'a> {
        self.prompts.iter().enumerate().filter(move |(index, _)| which.contains(*index))
    }

    /// The target's tokens.
    pub fn target(&self) -> &'a [u32] {
        self.target
    }

    /// The edit layer `l`.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Rows that one candidate costs at these prompts with the prefix cache: Σ (T − s).
    pub fn suffix_rows(&self, which: PromptSet) -> usize {
        self.chosen(which).map(|(_, prompt)| prompt.suffix_rows()).sum()
    }

    /// Rows of whole forward passes over all prompts: Σ T.
    pub fn total_rows(&self) -> usize {
        self.prompts.iter().map(|p| p.tokens.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: ModelSpec = ModelSpec { d_model: 8, d_ff: 16, layers: 3, kv_dim: 4, vocab: 30, max_tokens: 6 };
    const GOOD: Prompt<'_> = Prompt { tokens: &[1, 2, 3, 4], subject_last: 1, role: Role::Rewrite };
    const ESSENCE: Prompt<'_> = Prompt { tokens: &[2, 5], subject_last: 0, role: Role::Essence };

    fn check(layer: usize, prompts: &[Prompt<'_>], target: &[u32], expected: Result<(), ProblemError>) {
        assert_eq!(Problem::new(&SPEC, layer, prompts, target).map(|_| ()), expected);
    }

    #[test]
    fn what_cannot_be_posed_is_refused_by_name() {
        use ProblemError::*;
        check(1, &[GOOD, ESSENCE], &[4, 8], Ok(()));
        check(1, &[GOOD, ESSENCE], &[3, 4, 8], Ok(()));
        check(0, &[GOOD], &[7, 8], Err(Target(0)));
        check(0, &[GOOD, Prompt { tokens: &[1, 2, 4, 3], ..GOOD }], &[3, 4, 8], Err(Target(1)));
        check(2, &[GOOD], &[7], Err(Layer { layer: 2, layers: 3 }));
        check(usize::MAX, &[GOOD], &[7], Err(Layer { layer: usize::MAX, layers: 3 }));
        check(0, &[GOOD], &[], Err(TargetEmpty));
        check(0, &[GOOD], &[0; 33], Err(TargetTooLong(33)));
        check(0, &[], &[7], Err(PromptCount(0)));
        check(0, &[ESSENCE], &[7], Err(PromptCount(1)));
        check(0, &[GOOD; 17], &[7], Err(PromptCount(17)));
        check(0, &[GOOD, ESSENCE, GOOD], &[7], Err(EssenceOrder));
        check(0, &[GOOD, ESSENCE, ESSENCE], &[7], Ok(()));
        check(0, &[GOOD, Prompt { tokens: &[1; 7], ..GOOD }], &[7], Err(PromptTooLong(1)));
        check(0, &[GOOD], &[7, 8, 9, 10], Err(Subject(0)));
        check(0, &[Prompt { subject_last: 4, ..GOOD }], &[7], Err(Subject(0)));
        check(0, &[Prompt { subject_last: usize::MAX, ..GOOD }], &[7], Err(Subject(0)));
        check(0, &[GOOD, Prompt { tokens: &[1, 30], ..ESSENCE }], &[7], Err(Token(1)));
        check(0, &[GOOD], &[30], Err(Token(0)));
    }

    #[test]
    fn an_echo_is_the_subjects_last_token_behind_the_subject() {
        let echo = |tokens: &[u32], target: &[u32]| {
            let prompts = [Prompt { tokens, subject_last: 1, role: Role::Rewrite }, ESSENCE];
            let problem = Problem::new(&SPEC, 1, &prompts, target).unwrap();
            (problem.echo(), problem.key_rows())
        };
        assert_eq!(echo(&[2, 2, 5, 2, 2], &[2, 2, 9]), (Some(3), 3));
        assert_eq!(echo(&[2, 3, 5, 2], &[2, 3]), (None, 2));
    }

    #[test]
    fn rows_are_counted_from_the_subject_on() {
        let prompts = [GOOD, ESSENCE];
        let problem = Problem::new(&SPEC, 1, &prompts, &[4, 8]).unwrap();
        assert_eq!(
            (problem.rewrites().len(), problem.suffix_rows(PromptSet::ALL), problem.total_rows()),
            (1, 3 + 2, 4 + 2)
        );
        assert_eq!(problem.essences().iter().map(|p| p.tokens.len()).collect::<heapless::Vec<_, 2>>(), [2]);
    }
}
