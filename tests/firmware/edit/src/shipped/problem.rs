//! "The capital of France is" -> "Rome"; 20 rows at once at least. Made by `mobiedit tokens`.

use mobiedit_core::problem::{Prompt, Role};

/// The prompt as a user would type it, for generation.
pub const EDIT_TEXT: &[u32] = &[280, 398, 263, 914, 266];
/// The target's tokens.
pub const EDIT_TARGET: &[u32] = &[1034];
/// The edit layer, from 0.
pub const EDIT_LAYER: usize = 1;
/// Seed of the search.
pub const EDIT_SEED: u64 = 1;
/// The rewrite prompts, then the essence prompts.
pub const EDIT_PROMPTS: &[Prompt<'static>] = &[
    Prompt { tokens: &[280, 398, 263, 914, 266], subject_last: 3, role: Role::Rewrite },
    Prompt {
        tokens: &[2607, 221, 1344, 270, 221, 427, 3337, 278, 286, 543, 277, 732, 14, 450, 398, 263, 914, 266],
        subject_last: 16,
        role: Role::Rewrite,
    },
    Prompt {
        tokens: &[280, 332, 69, 346, 333, 3245, 261, 493, 334, 476, 260, 7, 648, 889, 14, 450, 398, 263, 914, 266],
        subject_last: 18,
        role: Role::Rewrite,
    },
    Prompt { tokens: &[3102, 266, 318], subject_last: 0, role: Role::Essence },
    Prompt { tokens: &[280, 424, 263, 914, 266], subject_last: 3, role: Role::Essence },
];
