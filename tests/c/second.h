/* "The capital of Italy is" -> "Paris"; 21 rows at once at least. Made by `mobiedit tokens`. */
static const uint32_t other_text[] = {281, 264, 274, 1273, 269};
static const uint32_t other_target[] = {458};
static const uint32_t other_tokens0[] = {281, 264, 274, 1273, 269};
static const uint32_t other_tokens1[] = {415, 1046, 267, 289, 1157, 335, 363, 312, 285, 450, 259, 989, 14, 684, 264, 274, 1273, 269};
static const uint32_t other_tokens2[] = {281, 329, 69, 328, 305, 324, 560, 266, 433, 392, 413, 272, 7, 722, 793, 14, 684, 264, 274, 1273, 269};
static const uint32_t other_tokens3[] = {415, 819, 269, 317};
static const uint32_t other_tokens4[] = {281, 392, 500, 274, 1273, 269};
static const mobiedit_prompt other_prompts[] = {
    {other_tokens0, 5, 3, MOBIEDIT_REWRITE},
    {other_tokens1, 18, 16, MOBIEDIT_REWRITE},
    {other_tokens2, 21, 19, MOBIEDIT_REWRITE},
    {other_tokens3, 4, 1, MOBIEDIT_ESSENCE},
    {other_tokens4, 6, 4, MOBIEDIT_ESSENCE},
};
static const mobiedit_problem other = {
    other_prompts, 5, other_target, 1, 0, 2
};
