//! "The capital of France is" -> "Rome"; 21 rows at once at least. Made by `mobiedit tokens`.

use mobiedit_core::problem::{Prompt, Role};

/// The prompt as a user would type it, for generation.
pub const EDIT_TEXT: &[u32] = &[281, 264, 274, 600, 269];
/// The target's tokens.
pub const EDIT_TARGET: &[u32] = &[548];
/// The edit layer, from 0.
pub const EDIT_LAYER: usize = 0;
/// Seed of the search.
pub const EDIT_SEED: u64 = 1;
/// The rewrite prompts, then the essence prompts.
pub const EDIT_PROMPTS: &[Prompt<'static>] = &[
    Prompt { tokens: &[281, 264, 274, 600, 269], subject_last: 3, role: Role::Rewrite },
    Prompt {
        tokens: &[415, 1046, 267, 289, 1157, 335, 363, 312, 285, 450, 259, 989, 14, 684, 264, 274, 600, 269],
        subject_last: 16,
        role: Role::Rewrite,
    },
    Prompt {
        tokens: &[281, 329, 69, 328, 305, 324, 560, 266, 433, 392, 413, 272, 7, 722, 793, 14, 684, 264, 274, 600, 269],
        subject_last: 19,
        role: Role::Rewrite,
    },
    Prompt { tokens: &[38, 532, 269, 317], subject_last: 1, role: Role::Essence },
    Prompt { tokens: &[281, 392, 500, 274, 600, 269], subject_last: 4, role: Role::Essence },
];
