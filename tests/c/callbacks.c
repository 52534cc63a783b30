/*
 * An edit on hardware of your own: six callbacks, and no model file.
 *
 * The "hardware" is a model that fits on this page: a subject's value is W key, and the logits are H value. A real one runs
 * a transformer on an NPU; the editor sees no difference.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mobiedit.h"

enum { D_MODEL = 8, D_FF = 12, VOCAB = 6, TARGET = 3, MOST_PATCHES = 2 };

/* The context of the callbacks: the weights, and the patches that are applied. */
struct hardware {
    float w[D_MODEL][D_FF], h[VOCAB][D_MODEL];
    struct { int used; float u[D_FF], lambda[D_MODEL]; } patches[MOST_PATCHES];
    int fail_next;
};

/* Any fixed numbers will do for weights. */
static float number(unsigned i) { return (float)((i * 2654435761u >> 8) % 2001) / 1000.0f - 1.0f; }

/* The forward pass of one prompt: the key at its subject, the value W key with what the patches and delta add, log P. */
static void forward(const struct hardware *hw, const mobiedit_prompt *prompt, const float *delta, float *key, float *value,
                    float *log_p) {
    float sum = 0;
    unsigned before = prompt->subject_last > 0 ? prompt->tokens[0] : 0;
    for (unsigned j = 0; j < D_FF; j++)
        key[j] = number(100 * prompt->tokens[prompt->subject_last] + j) + 0.3f * number(7000 + 100 * before + j);
    for (int i = 0; i < D_MODEL; i++) {
        value[i] = delta ? delta[i] : 0;
        for (int j = 0; j < D_FF; j++) {
            value[i] += hw->w[i][j] * key[j];
            for (int p = 0; p < MOST_PATCHES; p++) value[i] += hw->patches[p].lambda[i] * hw->patches[p].u[j] * key[j];
        }
    }
    for (int t = 0; t < VOCAB; t++) {
        log_p[t] = 0;
        for (int i = 0; i < D_MODEL; i++) log_p[t] += hw->h[t][i] * value[i];
        sum += expf(log_p[t]);
    }
    for (int t = 0; t < VOCAB; t++) log_p[t] -= logf(sum);
}

/* The clean pass. The cache is for our own use: here it holds the clean distribution behind the essence prompt. */
static int32_t prefill(void *context, const mobiedit_problem *problem, int64_t echo, float *cache, size_t cache_len,
                       float *keys, float *value) {
    float other[D_MODEL], log_p[VOCAB];
    if (echo >= 0 || cache_len < VOCAB) return MOBIEDIT_ERR_UNSUPPORTED;
    for (size_t p = 0; p < problem->prompts_len; p++) {
        int essence = problem->prompts[p].role == MOBIEDIT_ESSENCE;
        forward(context, &problem->prompts[p], NULL, keys + p * D_FF, p ? other : value, essence ? cache : log_p);
    }
    return 0;
}

/* One candidate over the prompts in `which`: the mean of -log P of the target, and KL to the clean distribution. */
static void one_loss(const struct hardware *hw, const mobiedit_problem *problem, uint32_t which, const float *delta,
                     const float *clean, mobiedit_loss *loss) {
    float key[D_FF], value[D_MODEL], log_p[VOCAB];
    memset(loss, 0, sizeof *loss);
    for (size_t p = 0; p < problem->prompts_len; p++) {
        if (!(which >> p & 1)) continue;
        forward(hw, &problem->prompts[p], delta, key, value, log_p);
        if (problem->prompts[p].role == MOBIEDIT_REWRITE) {
            int best = 0;
            for (int t = 1; t < VOCAB; t++) best = log_p[t] > log_p[best] ? t : best;
            loss->nll -= log_p[TARGET];
            loss->hits += best == TARGET;
            loss->targets += 1;
        } else if (clean) {
            for (int t = 0; t < VOCAB; t++) loss->kl += expf(log_p[t]) * (log_p[t] - clean[t]);
        }
    }
    if (loss->targets) loss->nll /= (float)loss->targets;
}

static int32_t losses(void *context, const mobiedit_problem *problem, uint32_t which, float *cache, size_t cache_len,
                      const float *deltas, size_t count, mobiedit_loss *out) {
    struct hardware *hw = context;
    (void)cache_len;
    if (hw->fail_next) return hw->fail_next = 0, -1234; /* a bus error, say */
    for (size_t c = 0; c < count; c++) one_loss(hw, problem, which, deltas + c * D_MODEL, cache, &out[c]);
    return 0;
}

static int32_t evaluate(void *context, const mobiedit_problem *problem, mobiedit_loss *out) {
    return one_loss(context, problem, ~0u, NULL, NULL, out), 0;
}

static int32_t apply(void *context, const mobiedit_patch *patch, uint32_t *id) {
    struct hardware *hw = context;
    for (*id = 0; *id < MOST_PATCHES && hw->patches[*id].used; ++*id) {}
    if (*id == MOST_PATCHES) return MOBIEDIT_ERR_PATCH;
    memcpy(hw->patches[*id].u, patch->u, sizeof hw->patches[*id].u);
    memcpy(hw->patches[*id].lambda, patch->lambda, sizeof hw->patches[*id].lambda);
    return hw->patches[*id].used = 1, 0;
}

static int32_t take_off(void *context, uint32_t id) {
    struct hardware *hw = context;
    if (id >= MOST_PATCHES || !hw->patches[id].used) return MOBIEDIT_ERR_PATCH;
    return memset(&hw->patches[id], 0, sizeof hw->patches[id]), 0;
}

#define EXPECT(what) do { if (!(what)) return printf("failed: %s\n", #what), 1; } while (0)

int main(void) {
    static struct hardware hw;
    for (unsigned i = 0; i < D_MODEL; i++) for (unsigned j = 0; j < D_FF; j++) hw.w[i][j] = 0.3f * number(40 * i + j);
    for (unsigned t = 0; t < VOCAB; t++) for (unsigned i = 0; i < D_MODEL; i++) hw.h[t][i] = number(900 + 40 * t + i);
    mobiedit_backend backend = {
        .spec = {.d_model = D_MODEL, .d_ff = D_FF, .layers = 2, .kv_dim = 4, .vocab = VOCAB, .max_tokens = 8},
        .context = &hw, .prefill = prefill, .losses = losses, .evaluate = evaluate, .apply = apply, .remove = take_off};
    static const uint32_t bare[] = {1, 2}, prefixed[] = {4, 1, 2}, essence[] = {1, 5}, target[] = {TARGET};
    const mobiedit_prompt prompts[] = {
        {bare, 2, 0, MOBIEDIT_REWRITE}, {prefixed, 3, 1, MOBIEDIT_REWRITE}, {essence, 2, 0, MOBIEDIT_ESSENCE}};
    const mobiedit_problem problem = {prompts, 3, target, 1, 0, 42};

    static uint64_t memory[512]; /* 4 KiB; mobiedit_footprint says how much of it is needed */
    mobiedit_config config = {.abi = MOBIEDIT_ABI, .backend = &backend, .memory = memory, .memory_len = sizeof memory};
    static mobiedit edit;
    size_t bytes = 0;
    EXPECT(mobiedit_footprint(&config, &problem, &bytes) == MOBIEDIT_OK && bytes <= sizeof memory);
    EXPECT(mobiedit_init(&edit, &config) == MOBIEDIT_OK && mobiedit_edit(&edit, &problem) == MOBIEDIT_OK);
    int failures = 0;
    for (int32_t code, units = 0; (code = mobiedit_step(&edit)) != MOBIEDIT_ENDED; units++) {
        EXPECT(code == MOBIEDIT_OK || (code == MOBIEDIT_ERR_BACKEND && mobiedit_backend_code(&edit) == -1234));
        failures += code != MOBIEDIT_OK; /* the same call tries again */
        hw.fail_next = units == 3;
    }
    mobiedit_progress progress;
    mobiedit_loss before, after, undone;
    uint32_t id;
    EXPECT(mobiedit_get_progress(&edit, &progress) == MOBIEDIT_OK && progress.outcome == MOBIEDIT_SUCCESS);
    evaluate(&hw, &problem, &before);
    EXPECT(mobiedit_apply(&edit, &id) == MOBIEDIT_OK);
    evaluate(&hw, &problem, &after);
    EXPECT(mobiedit_undo(&edit, id) == MOBIEDIT_OK);
    evaluate(&hw, &problem, &undone);
    EXPECT(failures == 1 && after.hits == 2 && memcmp(&before, &undone, sizeof before) == 0);
    printf("P(target) %.3f -> %.3f after %u steps in %u bytes\n", (double)expf(-before.nll), (double)expf(-after.nll),
           (unsigned)progress.step, (unsigned)bytes);
    return 0;
}
