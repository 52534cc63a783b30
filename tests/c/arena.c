/*
 * How much memory an edit takes, before any memory is there: mobiedit_footprint asks only for the model's sizes and the prompts'
 * lengths. For the paper's model and for the two of this repository, with the settings of both presets.
 */
#include <stdio.h>

#include "mobiedit.h"

enum { PREFIXES = 7, TOKENS = 16 };

/* Seven prompts of 16 tokens and two essence prompts of 4, the subject's last token three before the end. */
static int32_t footprint(const mobiedit_spec *spec, uint32_t layer, uint32_t preset, uint32_t batch, size_t *bytes) {
    static const uint32_t tokens[TOKENS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, target[] = {17};
    mobiedit_prompt prompts[PREFIXES + 2];
    for (size_t p = 0; p < PREFIXES; p++)
        prompts[p] = (mobiedit_prompt){tokens, TOKENS, TOKENS - 3, MOBIEDIT_REWRITE};
    for (size_t p = PREFIXES; p < PREFIXES + 2; p++) prompts[p] = (mobiedit_prompt){tokens, 4, 1, MOBIEDIT_ESSENCE};
    const mobiedit_problem problem = {prompts, PREFIXES + 2, target, 1, layer, 0};
    const mobiedit_backend backend = {.spec = *spec};
    const mobiedit_config config = {.abi = MOBIEDIT_ABI, .preset = preset, .batch = batch, .backend = &backend};
    return mobiedit_footprint(&config, &problem, bytes);
}

int main(void) {
    static const struct {
        const char *name;
        mobiedit_spec spec;
        uint32_t layer;
    } models[] = {
        {"Qwen2.5-3B", {2048, 11008, 36, 256, 151936, 32768}, 5},
        {"model.gguf", {256, 768, 8, 64, 6144, 256}, 1},
        {"small.gguf", {128, 384, 4, 32, 1536, 256}, 0},
    };
    static const struct {
        const char *name;
        uint32_t preset, batch;
    } settings[] = {{"default", MOBIEDIT_DEFAULT, 0}, {"default, batch 2", MOBIEDIT_DEFAULT, 2}, {"paper", MOBIEDIT_PAPER, 0}};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
            size_t bytes = 0;
            int32_t code = footprint(&models[m].spec, models[m].layer, settings[s].preset, settings[s].batch, &bytes);
            if (code != MOBIEDIT_OK) return printf("%s: %s\n", models[m].name, mobiedit_strerror(code)), 1;
            printf("arena: %s, %s: %lu\n", models[m].name, settings[s].name, (unsigned long)bytes);
        }
    return 0;
}
