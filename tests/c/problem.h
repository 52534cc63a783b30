/* "The capital of France is" -> "Rome"; 21 rows at once at least. Made by `mobiedit tokens`. */
static const uint32_t edit_text[] = {281, 264, 274, 600, 269};
static const uint32_t edit_target[] = {548};
static const uint32_t edit_tokens0[] = {281, 264, 274, 600, 269};
static const uint32_t edit_tokens1[] = {415, 1046, 267, 289, 1157, 335, 363, 312, 285, 450, 259, 989, 14, 684, 264, 274, 600, 269};
static const uint32_t edit_tokens2[] = {281, 329, 69, 328, 305, 324, 560, 266, 433, 392, 413, 272, 7, 722, 793, 14, 684, 264, 274, 600, 269};
static const uint32_t edit_tokens3[] = {38, 532, 269, 317};
static const uint32_t edit_tokens4[] = {281, 392, 500, 274, 600, 269};
static const mobiedit_prompt edit_prompts[] = {
    {edit_tokens0, 5, 3, MOBIEDIT_REWRITE},
    {edit_tokens1, 18, 16, MOBIEDIT_REWRITE},
    {edit_tokens2, 21, 19, MOBIEDIT_REWRITE},
    {edit_tokens3, 4, 1, MOBIEDIT_ESSENCE},
    {edit_tokens4, 6, 4, MOBIEDIT_ESSENCE},
};
static const mobiedit_problem edit = {
    edit_prompts, 5, edit_target, 1, 0, 1
};
